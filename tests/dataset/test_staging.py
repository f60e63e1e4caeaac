"""The hidden folder for what comes in goes with its process, and only then."""

import os
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from musabi.dataset.staging import ABANDONED_SECONDS, staging_beside
from musabi.identity import identity
from musabi.job.record import own_process


def left_behind(target: Path, container: str, pid: int, started: float | None) -> Path:
    """Make the folder that a process of a container would have left."""
    folder = target.parent / f".{target.name}.incoming-{quote(container, safe='')}~{pid}~{started}~0"
    folder.mkdir(parents=True)
    (folder / "000000").write_bytes(b"half")
    return folder


def test_it_is_gone_when_the_block_ends_even_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staging_beside(tmp_path / "images") as folder:
        assert folder.is_dir() and folder.parent == tmp_path and folder.name.startswith(".")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_process_left_is_cleared_and_what_a_live_one_has_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNPOD_POD_ID", "pod1")
    target = tmp_path / "images"
    pid, started = own_process()
    dead = left_behind(target, identity(), pid, (started or 0) - 1)
    live = left_behind(target, identity(), pid, started)
    earlier = left_behind(target, "pod1 anotherboot pid:[1]", 7, 8.0)
    other = left_behind(target, "pod2 someboot pid:[1]", 7, 8.0)
    forgotten = left_behind(target, "pod3 someboot pid:[1]", 7, 8.0)
    old = time.time() - ABANDONED_SECONDS - 5
    os.utime(forgotten, (old, old))
    with staging_beside(target):
        assert not dead.exists() and not earlier.exists() and not forgotten.exists()
        assert live.exists() and other.exists()


def test_a_long_name_of_the_dataset_folder_leaves_room_for_the_owner(tmp_path: Path) -> None:
    with staging_beside(tmp_path / ("n" * 250)) as folder:
        assert folder.is_dir()
