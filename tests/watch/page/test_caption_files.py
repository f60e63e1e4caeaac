"""A caption is saved over what the person had before their eyes, and over nothing else."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from musabi.errors import RequestError
from musabi.watch.page.caption_files import MOST_BYTES, Newer, read_caption, save_caption, tidy


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.txt"


def test_a_caption_is_saved_whole_and_says_what_was_there_before(file: Path) -> None:
    file.write_bytes(b"a dog\n")
    saved = save_caption(file, "  a cat \r\n", read_caption(file).hash)
    assert (file.read_bytes(), saved.before) == (b"a cat\n", b"a dog\n")
    assert saved.caption == read_caption(file)
    assert [path.name for path in file.parent.iterdir()] == ["a.txt"]


def test_what_was_changed_meanwhile_is_not_overwritten(file: Path) -> None:
    file.write_text("a dog\n")
    began_from = read_caption(file).hash
    file.write_text("a dog, by somebody else\n")
    with pytest.raises(Newer) as refused:
        save_caption(file, "a cat", began_from)
    assert refused.value.caption.text == "a dog, by somebody else"
    assert file.read_text() == "a dog, by somebody else\n"
    save_caption(file, "a cat", refused.value.caption.hash)
    assert file.read_text() == "a cat\n"


def test_a_file_that_came_or_went_meanwhile_is_another_state(file: Path) -> None:
    file.write_text("a dog\n")
    with pytest.raises(Newer):
        save_caption(file, "a cat", "")
    began_from = read_caption(file).hash
    file.unlink()
    with pytest.raises(Newer):
        save_caption(file, "a cat", began_from)
    assert not file.exists()


def test_an_empty_caption_makes_no_file_and_empties_one_that_is_there(file: Path) -> None:
    assert save_caption(file, "  ", "").caption.hash == ""
    assert not file.exists()
    save_caption(file, "a dog", "")
    save_caption(file, "", read_caption(file).hash)
    assert file.read_bytes() == b""


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        ("Zoë".encode(), "Zoë", ""),
        ("\ufeffZoë".encode(), "Zoë", "UTF-8 with a byte-order mark"),
        ("Zoë in a café".encode("cp1252"), "Zoë in a café", "Windows-1252"),
        ("a dog\n".encode("utf-16"), "a dog", "UTF-16"),
        (b"two\r\nlines\rthree\r\n", "two\nlines\nthree", ""),
    ],
)
def test_other_encodings_are_read_and_become_utf8(file: Path, data: bytes, text: str, encoding: str) -> None:
    file.write_bytes(data)
    found = read_caption(file)
    assert (found.text, found.encoding) == (text, encoding)
    save_caption(file, found.text, found.hash)
    assert file.read_bytes() == f"{text}\n".encode()


def test_control_characters_go_and_lines_stay() -> None:
    assert tidy("\x00one\x1b\ttwo\r\nthree\r\n\r\n") == "one\ttwo\nthree"


def test_what_is_too_long_to_be_a_caption_stays(file: Path) -> None:
    file.write_bytes(b"x" * (MOST_BYTES + 1))
    found = read_caption(file)
    assert found.problem
    with pytest.raises(RequestError, match="too long"):
        save_caption(file, "a dog", found.hash)
    with pytest.raises(RequestError, match="too long"):
        save_caption(file.with_name("b.txt"), "x" * MOST_BYTES, "")
    assert file.stat().st_size == MOST_BYTES + 1


def test_a_link_stays_a_link(file: Path) -> None:
    shared = file.with_name("shared.txt")
    shared.write_text("a dog\n")
    file.symlink_to(shared.name)
    save_caption(file, "a cat", read_caption(file).hash)
    assert file.is_symlink()
    assert shared.read_text() == "a cat\n"


def test_a_named_pipe_is_no_caption_and_holds_nobody_up(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(OSError, match="no plain file"):
        read_caption(file)


def test_of_many_who_save_at_once_one_is_taken_and_the_others_are_told(file: Path) -> None:
    file.write_text("a dog\n")
    began_from = read_caption(file).hash

    def save(number: int) -> str:
        try:
            return save_caption(file, f"number {number}", began_from, sync=False).caption.text
        except Newer as newer:
            return f"newer: {newer.caption.text}"

    with ThreadPoolExecutor(8) as pool:
        said = sorted(pool.map(save, range(24)))
    text = read_caption(file).text
    assert said == sorted([text, *[f"newer: {text}"] * 23])


def test_a_disk_that_fills_up_while_a_caption_is_saved_leaves_the_one_before(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("a dog\n")

    def full(part: Path, data: bytes) -> int:
        with part.open("wb") as opened:
            opened.write(data[:2])
        raise OSError(errno.ENOSPC, "No space left on device", str(part))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save_caption(file, "a cat", read_caption(file).hash)
    assert file.read_text() == "a dog\n"
    assert list(file.parent.iterdir()) == [file]
