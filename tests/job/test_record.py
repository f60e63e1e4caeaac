"""Whether a run still goes on, told from its own container and from another one on the same volume."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from musabi.identity import identity
from musabi.job.record import SILENT_SECONDS, RunFolder, RunRecord, RunState, own_process, runs
from musabi.whole import write_json

HERE = identity()


@pytest.fixture
def running(tmp_path: Path) -> Any:
    """Save a record as a runner in `container` leaves it, its last sign of life `ago` seconds back."""

    def save(container: str, ago: float, pid: int | None = None) -> RunFolder:
        folder = RunFolder(tmp_path)
        own, started = own_process()
        record = RunRecord(id="r", state=RunState.RUNNING, job={}, plan={}, container=container)
        record.created = time.time() - ago - 1
        record.pid, record.pid_started = (own, started) if pid is None else (pid, started)
        folder.save(record)
        write_json(folder.beat_file, {"t": time.time() - ago})
        return folder

    return save


def test_a_run_of_another_container_is_believed_while_it_gives_signs_of_life(running: Any) -> None:
    assert running("elsewhere boot pid:[1]", ago=5, pid=1).load().state is RunState.RUNNING
    assert running("elsewhere boot pid:[1]", SILENT_SECONDS + 5, pid=1).load().state is RunState.INTERRUPTED


def test_an_earlier_container_of_this_pod_is_gone_at_once(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNPOD_POD_ID", "pod1")
    assert running("pod1 boot pid:[1]", ago=1, pid=os.getpid()).load().state is RunState.INTERRUPTED
    assert running("pod2 boot pid:[1]", ago=1, pid=os.getpid()).load().state is RunState.RUNNING


def test_in_the_same_container_only_the_process_counts(running: Any) -> None:
    assert running(HERE, ago=3600).load().state is RunState.RUNNING
    assert running(HERE, ago=0, pid=2**22 - 1).load().state is RunState.INTERRUPTED


def test_a_record_that_is_no_record_is_no_run(tmp_path: Path) -> None:
    for number, text in enumerate(("[1, 2]", "7", "{broken")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "record.json").write_text(text)
    assert runs(tmp_path) == []
