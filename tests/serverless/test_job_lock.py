"""One process at a time is at work on a job, also on a volume whose kernel lock does not work."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from musabi.serverless.job_folder import JobFolder
from musabi.serverless.job_lock import OWNER_FILE, alone, is_held
from musabi.serverless.models.locks import Pace
from musabi.serverless.places import Places
from musabi.serverless.worker.old_jobs import remove_old_jobs

BEAT, PATIENCE = 0.1, 3.0
QUICK = Pace(BEAT, PATIENCE)
WORKER = f"""
import errno, fcntl, sys
from pathlib import Path
def refuse(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = refuse
from musabi.serverless.job_lock import alone
from musabi.serverless.models.locks import Pace
with alone(Path(sys.argv[1]), lambda: print("lost", flush=True), Pace({BEAT}, {PATIENCE})) as mine:
    print(mine, flush=True)
    sys.stdin.readline()
"""
Worker = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem that refuses flock(2), as some network volumes do."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """Start a process that wants the job, in the pod of that name; its first line says whether it has it."""
    started: list[subprocess.Popen[str]] = []

    def start(pod: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "jobs" / "one")],
            env=os.environ | {"RUNPOD_POD_ID": pod},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("second", ["a", "b"])
def test_a_second_process_does_not_get_a_job_and_a_later_one_does(worker: Worker, second: str) -> None:
    first = worker("a")
    assert said(first) == "True"
    assert said(worker(second)) == "False"
    first.communicate("\n", timeout=20)
    assert said(worker(second)) == "True"


@pytest.mark.parametrize("second", ["a", "b"])
def test_the_job_of_a_process_that_was_killed_is_taken_over(worker: Worker, second: str) -> None:
    first = worker("a")
    assert said(first) == "True"
    first.kill()
    first.wait()
    assert said(worker(second)) == "True"


def test_of_two_that_begin_at_once_one_gets_the_job(worker: Worker) -> None:
    assert sorted(said(one) for one in [worker("a"), worker("b")]) == ["False", "True"]


def test_who_lost_the_job_is_told(worker: Worker, tmp_path: Path) -> None:
    first = worker("a")
    assert said(first) == "True"
    file = tmp_path / "jobs" / "one" / OWNER_FILE
    part = file.with_suffix(".part")
    part.write_text(json.dumps(json.loads(file.read_text()) | {"id": "another"}))
    part.replace(file)
    assert said(first) == "lost"
    first.communicate("\n", timeout=20)
    assert file.exists(), "it is the other's"


@pytest.mark.usefixtures("no_locks")
def test_a_job_that_is_held_there_is_waited_for_and_never_removed(tmp_path: Path) -> None:
    places = Places(tmp_path)
    folder = JobFolder(places.job("one"))
    folder.make("one", {})
    later = time.time() + 10_000
    with folder.alone() as mine:
        assert mine and folder.is_held()
        assert remove_old_jobs(places, 3600, later) == []
    assert not folder.is_held()
    assert remove_old_jobs(places, 3600, later) == ["one"]
    assert list(places.jobs.iterdir()) == []


@pytest.mark.usefixtures("no_locks")
def test_a_folder_that_is_moved_away_is_not_made_again(tmp_path: Path) -> None:
    lost = threading.Event()
    with alone(tmp_path / "one", lost.set, QUICK) as mine:
        assert mine
        (tmp_path / "one").rename(tmp_path / "two")
        assert lost.wait(5)
    assert not (tmp_path / "one").exists()


def test_on_a_disk_of_this_machine_the_kernel_alone_decides(tmp_path: Path) -> None:
    with alone(tmp_path) as mine:
        assert mine and is_held(tmp_path)
        assert not (tmp_path / OWNER_FILE).exists()
    (tmp_path / OWNER_FILE).write_text(json.dumps({"id": "x", "identity": "another pod 1", "beat": 1}))
    begun = time.monotonic()
    assert not is_held(tmp_path) and time.monotonic() - begun < 5
