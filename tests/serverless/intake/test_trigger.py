"""The trigger word stands first in every caption, once."""

from pathlib import Path

import pytest

from musabi.serverless.intake.trigger import put_trigger_everywhere


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
