"""Caption files: never over somebody's own words."""

from pathlib import Path

from musabi.captioning.plan import Uncaptioned
from musabi.captioning.writing import Writer


def item(folder: Path) -> Uncaptioned:
    folder.mkdir(exist_ok=True)
    return Uncaptioned(folder / "a.png", "image", folder / "a.txt")


def test_a_caption_that_somebody_wrote_meanwhile_stays(tmp_path: Path) -> None:
    one = item(tmp_path / "images")
    assert Writer().write(one, "ein Käse")
    assert one.caption_file.read_bytes() == "ein Käse\n".encode()
    assert not Writer().write(one, "another")
    assert one.caption_file.read_text() == "ein Käse\n"


def test_an_empty_caption_file_is_filled(tmp_path: Path) -> None:
    one = item(tmp_path / "images")
    one.caption_file.write_text("\n")
    assert Writer().write(one, "a man")
    assert one.caption_file.read_text() == "a man\n"


def test_old_captions_are_kept_byte_by_byte_beside_the_folder(tmp_path: Path) -> None:
    one = item(tmp_path / "images")
    old = "Käse".encode("latin-1")
    one.caption_file.write_bytes(old)
    writer = Writer(overwrite=True, stamp="20261121-100000")
    assert writer.write(one, "a man")
    assert one.caption_file.read_text() == "a man\n"
    kept = tmp_path / "captions-replaced" / "images" / "20261121-100000" / "a.txt"
    assert kept.read_bytes() == old
    assert sorted(path.name for path in one.file.parent.iterdir()) == ["a.txt"]
