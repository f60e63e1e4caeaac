"""Where a container's own files are: on its disk, or in memory where the disk can't be written."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from musabi.errors import MachineError
from musabi.pod import state_dir
from musabi.pod.places import PodPlaces
from musabi.pod.state_dir import chosen_places, found_places, hold, usable_places
from musabi.pod.stopping.store import pod_places
from musabi.settings import load


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The fallback, in a folder of the test's own."""
    monkeypatch.setattr(state_dir, "FALLBACK", tmp_path / "memory")
    yield tmp_path / "memory"


def boot(folder: Path, text: str) -> None:
    places = PodPlaces(folder)
    places.root.mkdir(parents=True, exist_ok=True)
    places.boot.write_text(text)


def started(when: float) -> str:
    return json.dumps({"started": when})


# boot.json on the disk, boot.json in memory, where the last boot's files are.
CHOICES = {
    "neither": (None, None, "disk"),
    "the disk's alone": (started(5), None, "disk"),
    "the memory's alone": (None, started(5), "memory"),
    "an old one on a disk that filled up since": (started(5), started(9), "memory"),
    "an old one in memory from before the disk had room": (started(9), started(5), "disk"),
    "a broken one on the disk": ("{", started(5), "memory"),
    "a broken one in memory": (started(5), "[1]", "disk"),
    "an odd one in memory alone": (None, '{"started": "soon"}', "memory"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_files_are_where_the_newest_boot_put_them(tmp_path: Path, memory: Path, name: str) -> None:
    on_disk, in_memory, expected = CHOICES[name]
    disk = tmp_path / "disk"
    for folder, text in ((disk, on_disk), (memory, in_memory)):
        if text is not None:
            boot(folder, text)
    environ = {"MUSABI_STATE_DIR": str(disk), "HOME": str(tmp_path)}
    places = {chosen_places(disk), found_places(environ), pod_places(load(environ))}
    assert places == {PodPlaces(tmp_path / expected)}


def test_a_folder_that_can_be_written_is_used_and_its_owners_alone(tmp_path: Path, memory: Path) -> None:
    places, trouble = usable_places(tmp_path / "disk")
    assert (places, trouble) == (PodPlaces(tmp_path / "disk"), None)
    assert places.root.stat().st_mode & 0o777 == 0o700 and places.logs.is_dir()
    assert not memory.exists()


def test_where_the_folder_cannot_be_made_memory_takes_its_place(tmp_path: Path, memory: Path) -> None:
    (tmp_path / "disk").write_text("a file is in the way")
    places, trouble = usable_places(tmp_path / "disk")
    assert places == PodPlaces(memory) and places.logs.is_dir()
    assert trouble is not None and f"so the pod's files are in {memory}" in trouble


def test_a_pod_is_held_by_one_boot_at_a_time(tmp_path: Path, memory: Path) -> None:
    places, _ = usable_places(tmp_path / "disk")
    lock = hold(places)
    with pytest.raises(MachineError, match="has booted already"):
        hold(places)
    os.close(lock)
    os.close(hold(places))
