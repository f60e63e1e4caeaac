from collections.abc import Callable
from pathlib import Path

import pytest

from musabi.dataset.config import ANY_MODEL, Control, OneFrame, read_config
from musabi.dataset.frames import Extraction
from musabi.dataset.keys import KEYS, uses
from musabi.errors import RequestError
from musabi.recipes.recipe import DatasetRules

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
    assert "Make one with musabi init" in refusal(tmp_path / "dataset.toml")


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").touch()
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


@pytest.mark.parametrize("name", [key.name for key in KEYS if not uses(key, DatasetRules())])
def test_keys_of_other_models_are_refused_with_the_reason(write_toml: Write, name: str) -> None:
    message = refusal(write_toml(GOOD + f"{name} = 1\n"))
    assert f"{name} is for " in message
    assert "and this model takes single images only. Remove it." in message


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


EDIT = DatasetRules(control="any", bucket_step=32)
KONTEXT = DatasetRules(control="one")
ONE_FRAME = DatasetRules(takes=("image",), control="each_index")
LAYERED = DatasetRules(multiple_target=True)
VIDEO = DatasetRules(takes=("image", "video"), fps=16.0)
FRAMEPACK = DatasetRules(takes=("video",), fps=30.0, keys=("fp_latent_window_size",))
VIDEOS = (
    '[[datasets]]\nvideo_directory = "{images}"\ncache_directory = "{cache}"\ncaption_extension = ".txt"\n'
)


def refused(path: Path, rules: DatasetRules) -> str:
    with pytest.raises(RequestError) as caught:
        read_config(path, rules, model="Some Model")
    return str(caught.value)


def test_a_video_dataset_has_its_own_keys_and_defaults(write_toml: Write, tmp_path: Path) -> None:
    config = read_config(write_toml(VIDEOS), VIDEO, "wan")
    (dataset,) = config.datasets
    assert (dataset.medium, dataset.image_directory, dataset.architecture) == (
        "video",
        tmp_path / "images",
        "wan",
    )
    assert dataset.video == Extraction(target_fps=16.0)
    text = "target_frames = [1, 26]\nframe_extraction = 'slide'\nframe_stride = 3\nframe_sample = 4\n"
    (dataset,) = read_config(
        write_toml(VIDEOS + text + "max_frames = 81\nsource_fps = 30.0\n"), VIDEO, "wan"
    ).datasets
    assert dataset.video == Extraction("slide", (1, 26), 3, 4, 81, 30.0, 16.0, 4)
    assert dataset.video.lengths == (1, 25)
    assert dataset.window is None


def test_framepack_has_sections_of_its_window_and_other_models_none(write_toml: Write) -> None:
    assert read_config(write_toml(VIDEOS), FRAMEPACK).datasets[0].window == 9
    images = FRAMEPACK.model_copy(update={"takes": ("image", "video")})
    assert read_config(write_toml(GOOD), images).datasets[0].window is None
    path = write_toml(VIDEOS + "fp_latent_window_size = 4\n")
    assert read_config(path, FRAMEPACK).datasets[0].window == 4
    assert "fp_latent_window_size is for FramePack, and Some Model takes images and videos only" in refused(
        path, VIDEO
    )


@pytest.mark.parametrize(
    ("rules", "text", "said"),
    [
        (VIDEO, VIDEOS + "source_fps = 30\n", "with a decimal point, such as 30.0, not 30."),
        (VIDEO, VIDEOS + "source_fps = 0.0\n", "with a decimal point, such as 30.0, not 0.0."),
        (VIDEO, VIDEOS + "target_frames = 25\n", "a list of whole numbers of at least 1, such as [1, 25]"),
        (VIDEO, VIDEOS + "target_frames = [1, 25.0]\n", "target_frames must be a list of whole numbers"),
        (VIDEO, VIDEOS + 'target_frames = [1, "25"]\n', "target_frames must be a list of whole numbers"),
        (VIDEO, VIDEOS + "target_frames = []\n", "target_frames must be a list of whole numbers"),
        (VIDEO, VIDEOS + 'frame_extraction = "all"\n', '"head", "chunk", "slide", "uniform", "full", not'),
        (VIDEO, VIDEOS + "frame_stride = 0\n", "frame_stride must be a whole number of at least 1"),
        (VIDEO, VIDEOS + "image_directory = '/x'\n", "has image_directory and video_directory. Make two"),
        (VIDEO, GOOD + "target_frames = [25]\n", "target_frames belongs to a video dataset. Remove it."),
        (VIDEO, VIDEOS.replace("{images}", "{images}x"), "imagesx is not there"),
        (VIDEO, VIDEOS.replace("{images}", "clips"), "which the trainer would look for in the folder it"),
        (VIDEO, VIDEOS.replace("video_d", "d"), "Did you mean 'video_directory'?"),
        (VIDEO, VIDEOS + "resolution = [16, 16]\n", "too small for buckets"),
        (FRAMEPACK, GOOD, "image_directory is for image datasets, and Some Model takes videos only."),
        (FRAMEPACK, '[[datasets]]\ncaption_extension = ".txt"\n', "names no videos. Add video_directory"),
        (
            EDIT,
            GOOD + "qwen_image_edit_no_resize_control = true\n",
            "is now called no_resize_control. Rename",
        ),
        (
            EDIT,
            "[general]\nflux_kontext_no_resize_control = true\n" + GOOD,
            "is now called no_resize_control",
        ),
        (EDIT, GOOD + 'control_directory = "{images}"\n', "is the folder of the dataset itself"),
        (EDIT, GOOD + 'control_directory = "{images}/c"\n', "images/c is not there"),
        (EDIT, HEAD + 'caption_extension = ".txt"\nresolution = 1040\n', "must be multiples of 32"),
        (EDIT, HEAD + "resolution = 63\n" + 'enable_bucket = true\ncaption_extension = ".t"\n', "Take 64 or"),
        (KONTEXT, GOOD, "Some Model needs a control image for each item. Add control_directory."),
        (EDIT, GOOD + "multiple_target = true\n", "takes images with control images. Remove it."),
        (LAYERED, GOOD, "Some Model is trained on images in layers"),
        (ONE_FRAME, GOOD + 'control_directory = "/tmp"\n', "fp_1f_clean_indices is missing"),
    ],
)
def test_traps_of_other_models_are_named_with_the_mend(
    write_toml: Write, rules: DatasetRules, text: str, said: str
) -> None:
    assert said in refused(write_toml(text), rules)


def test_a_video_jsonl_dataset_needs_a_cache_directory_too(write_toml: Write, tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text("")
    text = f'[[datasets]]\nvideo_jsonl_file = "{tmp_path}/list.jsonl"\n'
    assert "a dataset with video_jsonl_file needs a cache_directory. Add one." in refused(
        write_toml(text), VIDEO
    )


def test_a_jsonl_dataset_has_its_control_images_in_the_file(write_toml: Write, tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text("")
    text = (
        f'[[datasets]]\nimage_jsonl_file = "{tmp_path}/list.jsonl"\ncache_directory = "{{cache}}"\n'
        "enable_bucket = true\n"
    )
    assert read_config(write_toml(text), KONTEXT).datasets[0].control == Control()
    assert "the trainer passes over control_directory" in refused(
        write_toml(text + 'control_directory = "{images}"\n'), KONTEXT
    )


def test_control_keys_reach_the_dataset(write_toml: Write, tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    text = f'control_directory = "{tmp_path}/control"\ncontrol_resolution = 512\nno_resize_control = true\n'
    (dataset,) = read_config(write_toml(GOOD + text), EDIT).datasets
    assert dataset.control == Control(tmp_path / "control", (512, 512), False)
    text = (
        f'control_directory = "{tmp_path}/control"\nfp_1f_clean_indices = [0, 10]\nfp_1f_target_index = 1\n'
    )
    (dataset,) = read_config(write_toml(GOOD + text + "fp_1f_no_post = true\n"), ONE_FRAME).datasets
    assert dataset.one_frame == OneFrame((0, 10), 1, True)
    assert read_config(write_toml(GOOD + "multiple_target = true\n"), LAYERED).datasets[0].multiple_target


def test_a_dataset_is_read_for_showing_whichever_model_it_is_for(write_toml: Write, tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    frame = "fp_1f_clean_indices = [0]\nfp_1f_target_index = 1\nmultiple_target = true\n"
    text = f'{GOOD}control_directory = "{tmp_path}/control"\n{frame}{VIDEOS.replace("{cache}", "{cache}2")}'
    config = read_config(write_toml(text), ANY_MODEL)
    assert [dataset.medium for dataset in config.datasets] == ["image", "video"]
