from pathlib import Path

import pytest

from musabi.dataset.prompts import Prompt, PromptRules, prompt_line, prompt_rules, read_prompts
from musabi.errors import RequestError
from musabi.recipes import load


def write(folder: Path, text: str) -> Path:
    path = folder / "prompts.txt"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(RequestError) as caught:
        read_prompts(path)
    return str(caught.value)


def test_a_line_without_flags_gets_the_trainers_defaults_for_z_image(tmp_path: Path) -> None:
    assert read_prompts(write(tmp_path, "A photo of ohwx woman\n")) == (
        Prompt("A photo of ohwx woman", 256, 256, None, 20, 4.0, 3.0, ""),
    )


def test_flags_are_read_in_any_order_and_case(tmp_path: Path) -> None:
    path = write(tmp_path, "A photo --L 1.5 --h 832 --w 1216 --fs 2 --s 8 --D 7 --n blurry, bad - worse\n")
    assert read_prompts(path) == (Prompt("A photo", 1216, 832, 7, 8, 1.5, 2.0, "blurry, bad - worse"),)


def test_comments_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, "# one\n\n  A photo \r\n#two\n \nAnother\n")
    assert [prompt.text for prompt in read_prompts(path)] == ["A photo", "Another"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("A photo --x 3", "line 2: unknown flag --x. Known flags: --w, --h, --d, --s, --fs, --l, --n."),
        ("A photo --width 512", "unknown flag --width. Did you mean --w?"),
        ("A photo --seed 3", "unknown flag --seed. Did you mean --d?"),
        ("A photo --cfg 3", "unknown flag --cfg. Did you mean --l?"),
        ("A photo --w512", "unknown flag --w512."),
        ("A photo -- w 512", "unknown flag --."),
        ("A photo --w 500", '--w must be a multiple of 16, not "500".'),
        ("A photo --w 0", '--w must be a multiple of 16, not "0".'),
        ("A photo --h 5x", '--h must be a multiple of 16, not "5x".'),
        ("A photo --d -1", '--d must be a whole number, not "-1".'),
        ("A photo --s 2000", '--s must be a whole number from 1 to 1000, not "2000".'),
        ("A photo --l 1.2.3", '--l must be a number such as 4.0, not "1.2.3".'),
        ("A photo --fs 0", '--fs must be a number above 0, not "0".'),
        ("A photo --w  512", '--w must be a multiple of 16, not " 512".'),
        ("A photo --n", '--n must be some text, not "".'),
        (
            "A photo --g 4",
            "Z-Image has no embedded guidance; its guidance scale is --l.",
        ),
        ("A photo --f 25", "--f does nothing here: Z-Image renders single pictures from text alone."),
        ("A photo --i /a.png", "--i does nothing here"),
        ("--w 512 --h 512", "has flags and no prompt"),
        (" # a comment", "# must be the first character of a comment"),
    ],
)
def test_what_the_trainer_would_pass_over_in_silence_is_refused(tmp_path: Path, line: str, said: str) -> None:
    path = write(tmp_path, f"A first photo\n{line}\n")
    message = refusal(path)
    assert message.startswith(f"{path}, line 2")
    assert said in message


@pytest.mark.parametrize(
    "line",
    ["I stand here", "n is a letter", "D 3 cameras", "w 50 mm lens", "L .5 scale", "cn tower", "of course"],
)
def test_a_prompt_that_begins_like_a_flag_is_refused(tmp_path: Path, line: str) -> None:
    word = line.split()[0]
    message = refusal(write(tmp_path, line))
    assert f'begins with "{word} ", which the trainer reads as its flag --{word.lower()}.' in message


@pytest.mark.parametrize("line", ["In the rain", "A photo", "d is a letter", "Old woman", "New York"])
def test_a_prompt_that_only_looks_like_it_is_taken(tmp_path: Path, line: str) -> None:
    assert read_prompts(write(tmp_path, line))[0].text == line


def test_a_missing_file_an_empty_one_and_another_suffix_are_named(tmp_path: Path) -> None:
    assert "Copy sample_prompts.txt" in refusal(tmp_path / "none.txt")
    assert "has no prompt" in refusal(write(tmp_path, "# nothing\n"))
    assert "ends in .txt" in refusal(tmp_path / "prompts.json")


def test_a_byte_order_mark_and_other_encodings_are_named(tmp_path: Path) -> None:
    assert "byte-order mark" in refusal(write(tmp_path, "\ufeff# comment\nA photo\n"))
    (tmp_path / "prompts.txt").write_bytes(b"caf\xe9")
    assert "not UTF-8" in refusal(tmp_path / "prompts.txt")


@pytest.mark.parametrize(
    "line",
    [
        "A photo",
        "A photo, 35 mm --w 512 --h 768 --s 8 --fs 3.5 --l 1.0 --n blurry, bad - worse --d 42",
        "A photo --l 0.00001 --fs 10.0",
    ],
)
def test_a_prompt_is_written_as_it_was_read(tmp_path: Path, line: str) -> None:
    (prompt,) = read_prompts(write(tmp_path, line))
    (again,) = read_prompts(write(tmp_path, prompt_line(prompt)))
    assert again == prompt and again.given == prompt.given
    bare = line.split(" --")[0]
    assert prompt_line(prompt).startswith(bare) and ("--" in line) == ("--" in prompt_line(prompt))


def test_files_of_a_prompt_are_written_too(tmp_path: Path) -> None:
    one, two = tmp_path / "a.png", tmp_path / "b c.png"
    one.touch(), two.touch()
    rules = PromptRules("Edit", frozenset({"w", "ci", "i"}))
    line = f"A photo --w 64 --i {one} --ci {one} --ci {two}"
    (prompt,) = read_prompts(write(tmp_path, line), rules)
    assert prompt_line(prompt) == line


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("A photo", "--i PICTURE and --of target_index=1,control_index=0"),
        ("A photo --i {file}", "--of target_index=1,control_index=0"),
        ("A photo --of target_index=1", "--i PICTURE"),
    ],
)
def test_a_line_without_what_the_model_needs_is_refused(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "a.png"
    file.touch()
    rules = PromptRules("One-frame", frozenset({"i", "of"}), needs=("i", "of"))
    path = write(tmp_path, f"A whole line --i {file} --of target_index=1\n{line.format(file=file)}")
    with pytest.raises(RequestError) as caught:
        read_prompts(path, rules)
    assert str(caught.value) == (
        f"{path}, line 2: One-frame can't render a prompt without {said}. Add it to the line."
    )


def test_the_rules_of_a_recipe_say_what_it_needs() -> None:
    assert prompt_rules(load("wan2.1-flf2v-14b")).needs == ("i", "ei", "ci", "of")
    assert prompt_rules(load("z-image")).needs == ()
