"""The run record: one JSON file a run, replaced atomically, that everything else reads."""

import contextlib
import os
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from musabi.errors import RequestError
from musabi.identity import identity, is_gone
from musabi.whole import read_json, write_json

# A runner writes a sign of life this often; in another container, one that is silent this long is gone.
BEAT_SECONDS = 10.0
SILENT_SECONDS = 60.0
# How a record fails that holds something else than one, or is gone by now; and one that the disk does not give.
ODD = (RequestError, ValueError, TypeError)
UNREADABLE = (*ODD, OSError)


class RunState(StrEnum):
    """Where a run stands. `interrupted` is worked out by readers: the runner is gone without a word."""

    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


GOING_ON = (RunState.PLANNED, RunState.RUNNING)


class StepOutcome(BaseModel):
    """What came of one step. Times are Unix seconds.

    `tries` says of each try that was given up why, and what was tried next. `cause` names a known cause of a
    failure, and `retry` tells whether the same step, run once more, may end well.
    """

    name: str
    title: str
    argv: list[str]
    state: str = "waiting"
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    message: str | None = None
    tries: list[str] = []
    cause: str = ""
    retry: bool = False


class ProducedFile(BaseModel):
    """One file (or state folder) that a run produced. `size` is in bytes."""

    kind: str
    path: Path
    size: int
    epoch: int | None = None
    step: int | None = None
    made: float


class Leg(BaseModel):
    """The schedule of one training; `started` is Unix seconds.

    `ahead` is how many steps later than a multiple of `steps_per_epoch` its epochs end: a trainer that begins
    a new epoch when it is resumed in the middle of one has done these steps besides.
    `bad_from` is the step from which on its loss was bad: no run goes on from a state saved then.
    """

    started: float
    epochs: int
    steps: int
    steps_per_epoch: int
    ahead: int = 0
    bad_from: int | None = None


class Publication(BaseModel):
    """A place that a run's files were published to. `at` is Unix seconds; `place` holds no secret."""

    place: str
    at: float
    files: int
    public: bool = False


class RunRecord(BaseModel):
    """A run, as its folder's record.json holds it.

    `legs` holds the schedules of the trainings that this run goes on from, and its own as the last. `gpus` are
    the numbers of the GPUs that it has for itself; none means all of them, and the CPU.
    """

    id: str
    state: RunState = RunState.PLANNED
    created: float = Field(default_factory=time.time)
    ended: float | None = None
    exit_code: int | None = None
    message: str | None = None
    pid: int | None = None
    pid_started: float | None = None
    container: str = ""
    job: dict[str, Any]
    plan: dict[str, Any]
    versions: dict[str, str] = {}
    dataset_fingerprint: str = ""
    resumed_from: str | None = None
    legs: list[Leg] = []
    start_step: int = 0
    start_epoch: int = 0
    steps: list[StepOutcome] = []
    files: list[ProducedFile] = []
    published: list[Publication] = []
    gpus: list[int] = []

    @property
    def lineage_started(self) -> float:
        """When the first leg was started: states older than that belong to something else."""
        return self.legs[0].started if self.legs else self.created

    @property
    def trained(self) -> bool:
        """Whether the training itself came to its end, whatever came of the steps after it."""
        if self.legs and self.start_step >= self.legs[-1].steps:
            return True
        return self.state is RunState.DONE or any(
            step.name == "train" and step.state == "done" for step in self.steps
        )


class RunFolder:
    """The folder of one run: record.json, events.jsonl, log.txt, beat.json and, on request, stop.json.

    `after` is there until what follows the run, its report and its publishing, is done.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record_file = path / "record.json"
        self.events_file = path / "events.jsonl"
        self.log_file = path / "log.txt"
        self.beat_file = path / "beat.json"
        self.stop_file = path / "stop.json"
        self.after_file = path / "after"

    def save(self, record: RunRecord) -> None:
        """Replace the record on disk."""
        write_json(self.record_file, record.model_dump(mode="json"))

    def load(self) -> RunRecord:
        """Return the record, with `interrupted` as its state where its runner is gone.

        Raises:
            RequestError: there is no record in this folder.
        """
        values = read_json(self.record_file)
        if values is None:
            raise RequestError(f"{self.path} holds no run. Name a folder under runs/ that has a record.json.")
        record = RunRecord.model_validate(values)
        if record.state in GOING_ON and not self.runner_is_alive(record):
            record.state = RunState.INTERRUPTED
            for step in record.steps:
                if step.state == "running":
                    step.state = RunState.INTERRUPTED.value
        return record

    def beat(self) -> None:
        """Leave a sign of life, for readers in other containers, who can't look the process up."""
        write_json(self.beat_file, {"t": time.time()})

    def runner_is_alive(self, record: RunRecord) -> bool:
        """Tell whether the very process that wrote the record still runs (a pid alone may be another's)."""
        if record.container and record.container != identity():
            return not is_gone(record.container) and self._silent_s(record) < SILENT_SECONDS
        if record.pid is None:
            return time.time() - record.created < 30
        return record.pid_started is not None and process_start(record.pid) == record.pid_started

    def _silent_s(self, record: RunRecord) -> float:
        beat = read_json(self.beat_file)
        last = beat.get("t", 0.0) if isinstance(beat, dict) else 0.0
        return time.time() - max(float(last), record.created)


def process_start(pid: int) -> float | None:
    """Return when a process started, in clock ticks since boot (proc(5), field 22), or None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rsplit(")", 1)[1].split()
    return None if fields[0] == "Z" else float(fields[19])


def own_process() -> tuple[int, float | None]:
    """Return (pid, start) of this process, for the record."""
    return os.getpid(), process_start(os.getpid())


def runs(folder: Path, *, skip: tuple[type[Exception], ...] = ODD) -> list[RunFolder]:
    """Return the runs under `folder`, oldest first, without those whose record fails to be read as in `skip`."""
    found = []
    for path in sorted(folder.glob("*/record.json"), key=lambda path: path.parent.name):
        with contextlib.suppress(*skip):
            values = read_json(path)
            if isinstance(values, dict):
                found.append((float(values.get("created", 0)), RunFolder(path.parent)))
    return [run for _, run in sorted(found, key=lambda pair: pair[0])]


def readable_runs(
    folder: Path, *, skip: tuple[type[Exception], ...] = UNREADABLE
) -> Iterator[tuple[RunFolder, RunRecord]]:
    """Yield the runs under `folder` with their records, newest first, without those that `skip` names."""
    for run in reversed(runs(folder, skip=skip)):
        with contextlib.suppress(*skip):
            yield run, run.load()


def going_on(folder: Path) -> list[RunFolder]:
    """Return the runs under `folder` that have not ended, oldest first. An odd record is of no such run."""
    found = []
    for path in folder.glob("*/record.json"):
        with contextlib.suppress(OSError, ValueError, RequestError):
            values = read_json(path)
            if not isinstance(values, dict) or values.get("state") not in GOING_ON:
                continue
            run = RunFolder(path.parent)
            if run.load().state in GOING_ON:
                found.append((float(values.get("created", 0)), run))
    return [run for _, run in sorted(found, key=lambda pair: pair[0])]


def newest_run(folder: Path, output_name: str | None = None) -> RunFolder | None:
    """Return the newest run under `folder`, of that output name where one is given."""
    for run, record in readable_runs(folder):
        if output_name is None or record.job.get("output_name") == output_name:
            return run
    return None
