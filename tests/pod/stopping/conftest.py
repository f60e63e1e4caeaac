"""A pod in a folder: settings, the stand-ins of Runpod, and a clock that tests turn."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from musabi.identity import identity
from musabi.job.launch import new_run_folder
from musabi.job.record import RunFolder, RunRecord, RunState, process_start
from musabi.pod.places import PodPlaces
from musabi.pod.stopping.carry_out import Hands
from musabi.pod.stopping.provider import this_pod
from musabi.pod.stopping.store import Store
from musabi.settings import Settings, load
from peers.loopback_runpod import KEY, POD, LoopbackRunpod, running_runpod

BEGAN = 1_800_000_000.0
# What tests announce is not written on the terminals of whoever runs them.
NO_TERMINALS = (
    "from pathlib import Path; from musabi.pod.stopping import words; words.PTS = Path('/nonexistent')"
)
BARE_PATH = "/usr/bin:/bin"


class Clock:
    """A clock that only sleeping moves. `at` are things to do when a moment is reached."""

    def __init__(self, now: float = BEGAN) -> None:
        self.time = now
        self.at: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        end = self.time + seconds
        for moment, what in sorted(self.at, key=lambda pair: pair[0]):
            if moment <= end:
                self.at.remove((moment, what))
                self.time = max(self.time, moment)
                what()
        self.time = end


@dataclass
class PodFolder:
    """One container of a pod, everything of it under `root`."""

    root: Path
    runpod: LoopbackRunpod
    environ: dict[str, str]
    clock: Clock = field(default_factory=Clock)
    said: list[str] = field(default_factory=list)
    mark: str = "container one"

    @property
    def settings(self) -> Settings:
        return load(self.environ)

    @property
    def places(self) -> PodPlaces:
        return PodPlaces(self.settings.musabi_state_dir)

    @property
    def store(self) -> Store:
        return Store(self.places, mark=self.mark, started=BEGAN)

    @property
    def hands(self) -> Hands:
        def say(text: str) -> None:
            self.said.append(text)

        pod = this_pod(self.settings, self.environ)
        return Hands(pod, self.store, say, self.clock.now, self.clock.sleep, lambda _text: None)

    @property
    def log(self) -> str:
        return "\n".join(self.said)

    @property
    def guard_file(self) -> dict[str, Any]:
        found = json.loads(self.places.guard.read_text())
        assert isinstance(found, dict)
        return found

    def add_run(
        self, state: RunState = RunState.RUNNING, pid: int | None = None, container: str | None = None
    ) -> RunFolder:
        """Write the record of a run whose process is `pid` (this one where not given), of this container."""
        pid = os.getpid() if pid is None else pid
        folder = new_run_folder(self.settings.space.runs, "lora")
        place = identity() if container is None else container
        record = RunRecord(id=folder.path.name, state=state, job={}, plan={}, container=place, pid=pid)
        record.pid_started = process_start(pid)
        folder.save(record)
        return folder


def wait_for(what: Callable[[], object], seconds: float = 20) -> None:
    """Wait until `what` is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def start_guard(pod: PodFolder) -> "subprocess.Popen[bytes]":
    """Start `musabi pod guard` as the boot does."""
    with (pod.root / "guard.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", f"{NO_TERMINALS}; from musabi.cli import main; main()", "pod", "guard"],
            env=pod.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end_processes(*processes: "subprocess.Popen[bytes]") -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)


@pytest.fixture
def runpod() -> Iterator[LoopbackRunpod]:
    with running_runpod() as running:
        yield running


@pytest.fixture
def pod(tmp_path: Path, runpod: LoopbackRunpod) -> PodFolder:
    environ = {
        "PATH": f"{tmp_path / 'bin'}:{BARE_PATH}",
        "HOME": str(tmp_path),
        "WORKSPACE": str(tmp_path / "workspace"),
        "MUSABI_STATE_DIR": str(tmp_path / "state"),
        "RUNPOD_POD_ID": POD,
        "RUNPOD_API_KEY": KEY,
        "RUNPOD_REST_URL": runpod.url,
        "JUPYTER_PORT": "1",
    }
    (tmp_path / "workspace").mkdir()
    return PodFolder(tmp_path, runpod, environ)
