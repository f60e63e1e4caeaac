from collections.abc import Callable
from pathlib import Path

import pytest

from musabi.dataset.config import read_config
from musabi.dataset.keys import KEYS
from musabi.errors import RequestError

Write = Callable[[str], Path]

HEAD = '[[datasets]]\nimage_directory = "{images}"\ncache_directory = "{cache}"\n'
GOOD = HEAD + 'caption_extension = ".txt"\nenable_bucket = true\n'


def refusal(path: Path) -> str:
    with pytest.raises(RequestError) as caught:
        read_config(path)
    return str(caught.value)


def test_values_fall_back_from_the_dataset_to_general_to_the_trainers_defaults(write_toml: Write) -> None:
    path = write_toml(
        '[general]\nresolution = [1024, 768]\ncaption_extension = ".caption"\nbatch_size = 2\n'
        "enable_bucket = true\n" + HEAD + "batch_size = 4\n"
    )
    dataset = read_config(path).datasets[0]
    assert dataset.resolution == (1024, 768)
    assert dataset.caption_extension == ".caption"
    assert (dataset.batch_size, dataset.num_repeats) == (4, 1)
    assert (dataset.enable_bucket, dataset.bucket_no_upscale) == (True, False)


def test_what_is_named_nowhere_gets_musubi_tuners_defaults(write_toml: Write) -> None:
    dataset = read_config(write_toml(HEAD + 'caption_extension = ".txt"\n')).datasets[0]
    assert dataset.resolution == (960, 544)
    assert (dataset.batch_size, dataset.num_repeats) == (1, 1)
    assert (dataset.enable_bucket, dataset.bucket_no_upscale) == (False, False)


def test_one_number_means_a_square(write_toml: Write) -> None:
    assert read_config(write_toml(GOOD + "resolution = 768\n")).datasets[0].resolution == (768, 768)


def test_without_a_cache_directory_the_image_directory_is_it(write_toml: Write, tmp_path: Path) -> None:
    dataset = read_config(
        write_toml(
            '[[datasets]]\nimage_directory = "{images}"\ncaption_extension = ".txt"\nenable_bucket = true\n'
        )
    ).datasets[0]
    assert dataset.cache_directory == tmp_path / "images"


def test_a_missing_file_says_where_to_get_one(tmp_path: Path) -> None:
    assert "Copy dataset.toml.example" in refusal(tmp_path / "dataset.toml")


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    assert "ends in .toml" in refusal(tmp_path / "dataset.yaml")


def test_a_syntax_error_is_named_with_line_and_column(write_toml: Write) -> None:
    path = write_toml('[general]\nresolution = [1024,\ncaption_extension = ".txt"\n')
    assert refusal(path).startswith(f"{path}, line 3, column 1: ")


def test_a_syntax_error_at_the_end_of_the_file_has_its_place_too(write_toml: Write) -> None:
    path = write_toml("[general]\nresolution =")
    assert refusal(path).startswith(f"{path}, line 2, column 13: Invalid value")


def test_a_byte_order_mark_and_other_encodings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "dataset.toml"
    path.write_bytes("\ufeff[general]\n".encode())
    assert "byte-order mark" in refusal(path)
    path.write_bytes(b'[general]\ncaption_extension = "\xe9"\n')
    assert "not UTF-8" in refusal(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "image_dir = 1\n", "unknown key 'image_dir'. Did you mean 'image_directory'?"),
        (GOOD + "repeats = 2\n", "unknown key 'repeats'. Did you mean 'num_repeats'?"),
        (GOOD + "zzz = 2\n", "unknown key 'zzz'. Known keys: resolution, "),
        (
            "[general]\nresolutoin = 1024\n" + GOOD,
            "[general]: unknown key 'resolutoin'. Did you mean",
        ),
        ("[genral]\n" + GOOD, "unknown key 'genral'. Did you mean 'general'?"),
        ("resolution = 1024\n" + GOOD, "resolution stands above the first table. Put it under [general]."),
        (
            'image_directory = "/x"\n' + GOOD,
            "above the first table. Put it under [[datasets]].",
        ),
        (
            '[general]\ncache_directory = "/x"\n' + GOOD,
            "cache_directory belongs under [[datasets]].",
        ),
        ("general = 3\n" + GOOD, "general must be a table"),
        ("[general]\n", "has no [[datasets]] table"),
        ("datasets = []\n", "has no [[datasets]] table"),
        (GOOD.replace("[[datasets]]", "[datasets]"), "[datasets] needs double brackets"),
    ],
)
def test_a_wrong_key_is_named_with_the_right_one(write_toml: Write, text: str, said: str) -> None:
    path = write_toml(text)
    message = refusal(path)
    assert message.startswith(str(path))
    assert said in message


def test_the_second_dataset_is_named_by_its_number(write_toml: Write) -> None:
    path = write_toml(GOOD + GOOD.replace("{cache}", "{cache}2") + "bach_size = 2\n")
    assert "[[datasets]] number 2: unknown key 'bach_size'. Did you mean 'batch_size'?" in refusal(path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('resolution = "1024"', "resolution must be a number of pixels or [width, height], not '1024'."),
        ("resolution = [1024]", "resolution must be a number of pixels or [width, height], not [1024]."),
        (
            "resolution = [1024, 0]",
            "pixels or [width, height], not [1024, 0].",
        ),
        ("batch_size = 0", "batch_size must be a whole number of at least 1, not 0."),
        ("batch_size = true", "batch_size must be a whole number of at least 1, not true."),
        ("num_repeats = 1.5", "num_repeats must be a whole number of at least 1, not 1.5."),
        ("bucket_no_upscale = 1", "bucket_no_upscale must be true or false, not 1."),
    ],
)
def test_a_value_of_the_wrong_type_is_named(write_toml: Write, line: str, said: str) -> None:
    assert said in refusal(write_toml(GOOD + line + "\n"))


@pytest.mark.parametrize("name", [key.name for key in KEYS if key.only_for])
def test_keys_of_other_models_are_refused_with_the_reason(write_toml: Write, name: str) -> None:
    message = refusal(write_toml(GOOD + f"{name} = 1\n"))
    assert f"{name} is for " in message
    assert "Z-Image takes single images only" in message


def test_a_dataset_without_images_is_named(write_toml: Write) -> None:
    message = refusal(write_toml('[[datasets]]\ncache_directory = "{cache}"\ncaption_extension = ".txt"\n'))
    assert "[[datasets]] number 1 names no images. Add image_directory" in message


def test_an_image_directory_that_is_not_there_is_named(write_toml: Write, tmp_path: Path) -> None:
    message = refusal(write_toml(GOOD.replace("{images}", "{images}x")))
    assert f"image_directory {tmp_path / 'imagesx'} is not there" in message


def test_an_image_directory_that_is_a_file_is_named(write_toml: Write, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is not a folder" in refusal(write_toml(GOOD.replace("{images}", str(tmp_path / "file"))))


def test_a_relative_path_is_refused_with_the_one_to_write(
    write_toml: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_toml(GOOD.replace("{images}", "images"))
    assert f'Write image_directory = "{tmp_path / "images"}".' in refusal(path)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "photos").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    path = write_toml(GOOD.replace("{images}", "photos"))
    assert f'Write image_directory = "{elsewhere / "photos"}".' in refusal(path)
    path = write_toml(GOOD.replace("{cache}", "../cache"))
    assert f'Write cache_directory = "{tmp_path.parent / "cache"}".' in refusal(path)


@pytest.mark.parametrize("name", ["ca[ch]e", "ca*e", "cache?"])
def test_glob_characters_in_the_cache_directory_are_refused(write_toml: Write, name: str) -> None:
    assert "one of the characters []*?" in refusal(write_toml(GOOD.replace("{cache}", "{cache}/" + name)))


def test_two_datasets_with_one_cache_directory_are_refused(write_toml: Write, tmp_path: Path) -> None:
    message = refusal(write_toml(GOOD + GOOD.replace("{cache}", "{cache}/../cache/")))
    assert "[[datasets]] numbers 1 and 2 share the cache directory" in message
    assert str(tmp_path / "cache") in message


def test_a_cache_directory_that_is_a_file_is_refused(write_toml: Write, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    assert "cache_directory" in refusal(write_toml(GOOD))


def test_a_missing_caption_extension_is_named(write_toml: Write) -> None:
    assert 'Add caption_extension = ".txt".' in refusal(write_toml(HEAD))


@pytest.mark.parametrize("extension", ["txt", "", ".", ".caption.txt", ".*"])
def test_a_caption_extension_that_would_match_nothing_is_refused(write_toml: Write, extension: str) -> None:
    path = write_toml(HEAD + f'caption_extension = "{extension}"\n')
    assert "caption_extension must be a dot and an ending" in refusal(path)


def test_without_buckets_the_resolution_must_fit_the_model(write_toml: Write) -> None:
    path = write_toml(HEAD + 'caption_extension = ".txt"\nresolution = [1000, 1024]\n')
    assert "Write resolution = [992, 1024] or enable_bucket = true." in refusal(path)


def test_a_resolution_too_small_for_buckets_is_refused(write_toml: Write) -> None:
    assert "too small for buckets" in refusal(write_toml(GOOD + "resolution = [31, 32]\n"))


def test_images_and_jsonl_exclude_each_other(write_toml: Write) -> None:
    assert "exclude each other" in refusal(write_toml(GOOD + 'image_jsonl_file = "/x.jsonl"\n'))


def test_a_jsonl_dataset_needs_a_cache_directory_and_its_file(write_toml: Write, tmp_path: Path) -> None:
    text = f'[[datasets]]\nenable_bucket = true\nimage_jsonl_file = "{tmp_path}/list.jsonl"\n'
    assert "list.jsonl is not there" in refusal(write_toml(text))
    (tmp_path / "list.jsonl").write_text("")
    assert "needs a cache_directory" in refusal(write_toml(text))
    dataset = read_config(write_toml(text + 'cache_directory = "{cache}"\n')).datasets[0]
    assert dataset.jsonl == tmp_path / "list.jsonl"
