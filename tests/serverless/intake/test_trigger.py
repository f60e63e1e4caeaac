"""The trigger word stands first in every caption, once."""

from pathlib import Path

import pytest

from musabi.serverless.intake.trigger import put_trigger_everywhere, with_trigger


@pytest.mark.parametrize(
    ("caption", "word", "expected"),
    [
        ("a photo of a man", "ohwx", "ohwx, a photo of a man\n"),
        ("ohwx, a photo", "ohwx", "ohwx, a photo"),
        ("ohwx man in a park\n", "ohwx", "ohwx man in a park\n"),
        ("Ohwx, a photo", "ohwx", "ohwx, a photo\n"),
        ("ohwxman, a photo", "ohwx", "ohwx, ohwxman, a photo\n"),
        ("a photo of ohwx", "ohwx", "ohwx, a photo of ohwx\n"),
        ("ohwx person, a photo", "ohwx person", "ohwx person, a photo"),
        ("ohwx persons, a photo", "ohwx person", "ohwx person, ohwx persons, a photo\n"),
        ("  , a photo \n", "ohwx", "ohwx, a photo\n"),
        ("", "ohwx", "ohwx\n"),
        ("\ufeffa photo", "ohwx", "ohwx, a photo\n"),
        ("c++ code", "c++", "c++ code"),
        ("日本の写真", "sks日", "sks日, 日本の写真\n"),
        ("two\nlines", "ohwx", "ohwx, two\nlines\n"),
    ],
)
def test_the_word_comes_first(caption: str, word: str, expected: str) -> None:
    assert with_trigger(caption, word) == expected
    assert with_trigger(expected, word) == expected


@pytest.mark.parametrize("word", ["ohwx", " ohwx ", "ohwx,", "ohwx, "])
def test_every_caption_of_a_folder_gets_it_once(word: str, tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_text("a photo of Zoë", encoding="utf-8")
    (tmp_path / "2.txt").write_text("ohwx, a photo", encoding="utf-8")
    (tmp_path / "1.png").write_bytes(b"ohwx stays out of it")
    assert put_trigger_everywhere(tmp_path, word) == 1
    assert put_trigger_everywhere(tmp_path, word) == 0
    assert (tmp_path / "1.txt").read_text(encoding="utf-8") == "ohwx, a photo of Zoë\n"
    assert (tmp_path / "2.txt").read_text(encoding="utf-8") == "ohwx, a photo"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.png", "1.txt", "2.txt"]


@pytest.mark.parametrize("word", ["", "  ", ",", ", ,"])
def test_no_word_changes_nothing(word: str, tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_text("a photo")
    assert put_trigger_everywhere(tmp_path, word) == 0
    assert (tmp_path / "1.txt").read_text() == "a photo"
