"""The trigger word in a caption: first in it, once; or nowhere."""

import pytest

from musabi.dataset.trigger import has_trigger, with_trigger, without_trigger


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


@pytest.mark.parametrize(
    ("caption", "word", "expected"),
    [
        ("ohwx, a photo", "ohwx", "a photo"),
        ("ohwx a photo", "ohwx", "a photo"),
        ("Ohwx, a photo", "ohwx", "a photo"),
        ("ohwxman, a photo", "ohwx", "ohwxman, a photo"),
        ("a photo of ohwx", "ohwx", "a photo of"),
        ("a photo, ohwx", "ohwx", "a photo"),
        ("a man, ohwx, in a park", "ohwx", "a man, in a park"),
        ("a photo of ohwx man", "ohwx", "a photo of man"),
        ("a photo of ohwx, smiling", "ohwx", "a photo of, smiling"),
        ("a photo, ohwx man", "ohwx", "a photo, man"),
        ("ohwx, a photo of ohwx man", "ohwx", "a photo of man"),
        ("ohwx", "ohwx", ""),
        ("c++, code", "c++", "code"),
        ("two\nohwx, lines", "ohwx", "two\nlines"),
        ("  a photo  ", "ohwx", "  a photo  "),
    ],
)
def test_the_word_goes_with_its_comma(caption: str, word: str, expected: str) -> None:
    assert without_trigger(caption, word) == expected
    assert without_trigger(expected, word) == expected


def test_a_longer_word_is_not_the_word() -> None:
    assert has_trigger("a photo of ohwx, smiling", "ohwx")
    assert not has_trigger("a photo of ohwxman", "ohwx")
    assert not has_trigger("a photo of OHWX", "ohwx")
