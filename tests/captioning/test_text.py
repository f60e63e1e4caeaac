"""What becomes of a model's words."""

import pytest

from musabi.captioning.text import Wording, caption_text


@pytest.mark.parametrize(
    ("said", "wording", "text"),
    [
        ("A man.\n\n He  walks.", Wording(), "A man. He walks."),
        ("a man", Wording("photo of", ", 35mm"), "photo of a man, 35mm"),
        ("a man", Wording(" photo of ", "in oil"), "photo of a man in oil"),
        ("a man", Wording(trigger="sks"), "sks, a man"),
        ("sks stands", Wording(trigger="sks"), "sks stands"),
        ("he asks a man", Wording(trigger="sks"), "sks, he asks a man"),
        ("Ohwx stands", Wording(trigger="ohwx"), "ohwx, Ohwx stands"),
        ("a man", Wording("ohwx,", trigger="ohwx"), "ohwx, a man"),
        ("a c++ book", Wording(trigger="c++"), "a c++ book"),
    ],
)
def test_prefix_suffix_and_trigger_word_stand_around_one_line(said: str, wording: Wording, text: str) -> None:
    assert caption_text(said, wording) == text


def test_a_caption_that_was_cut_off_ends_with_its_last_whole_sentence() -> None:
    assert caption_text("A man. He holds a 2.5 litre", Wording(), cut=True) == "A man."
    assert caption_text('A sign says "Stop!" and a', Wording(), cut=True) == 'A sign says "Stop!"'
    assert caption_text("A man who walks and", Wording(), cut=True) == "A man who walks and"
    assert caption_text("A man. He holds a", Wording()) == "A man. He holds a"
