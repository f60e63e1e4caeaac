import json
import time
from pathlib import Path

import pytest

from musabi.dataset.decoding import Looked
from musabi.dataset.remembered import Remembered, stamp

FOUND = Looked(form="PNG", mode="RGB", frames=2, clear=True, dhash=2**63 + 5, sha256="ab")


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were made just now count as those of long ago."""
    monkeypatch.setattr("musabi.dataset.remembered.SETTLED_NS", 0)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "a.png"
    file.write_bytes(b"picture")
    return file


def remember(memory: Path, image: Path) -> None:
    learnt = Remembered(memory)
    learnt.learn(image, stamp(image), FOUND)
    time.sleep(0.01)
    learnt.keep()


def test_what_was_found_is_known_again_until_the_file_changes(tmp_path: Path, image: Path) -> None:
    memory = tmp_path / "cache" / "looked.json"
    remember(memory, image)
    assert Remembered(memory).recall(image) == FOUND
    image.write_bytes(b"PICTURE")
    assert Remembered(memory).recall(image) is None
    image.unlink()
    assert Remembered(memory).recall(image) is None


def test_a_file_that_changed_while_it_was_read_is_not_known(tmp_path: Path, image: Path) -> None:
    learnt = Remembered(tmp_path / "looked.json")
    before = stamp(image)
    image.write_bytes(b"longer than before")
    learnt.learn(image, before, FOUND)
    assert learnt.recall(image) is None


def test_a_file_of_the_last_moments_is_not_trusted(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musabi.dataset.remembered.SETTLED_NS", 60_000_000_000)
    remember(tmp_path / "looked.json", image)
    assert Remembered(tmp_path / "looked.json").recall(image) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"made": 1}', '{"made": "1, Pillow 0", "images": {"/a": [1]}}', '{"images": []}']
)
def test_a_memory_that_is_broken_or_of_another_version_is_as_none(
    tmp_path: Path, image: Path, text: str
) -> None:
    memory = tmp_path / "looked.json"
    memory.write_text(text)
    assert Remembered(memory).recall(image) is None
    remember(memory, image)
    assert Remembered(memory).recall(image) == FOUND


def test_an_entry_that_makes_no_sense_is_as_none(tmp_path: Path, image: Path) -> None:
    memory = tmp_path / "looked.json"
    remember(memory, image)
    kept = json.loads(memory.read_text())
    kept["images"][str(image)] += ["too", "many"]
    memory.write_text(json.dumps(kept))
    assert Remembered(memory).recall(image) is None


def test_nothing_is_written_where_the_folder_above_is_not_there(tmp_path: Path, image: Path) -> None:
    remember(tmp_path / "no" / "such" / "looked.json", image)
    assert not (tmp_path / "no").exists()
