"""What becomes of the runs that go on when the container is asked to stop.

Each gets what `musabi stop` would give it: a stop request in its folder, and SIGTERM for its runner, which lets
the trainer save where it can and writes the run record. The platform kills everything after a few seconds, so a
record whose runner did not get that far is ended here, and says where to go on.

This reads and writes record.json as plain JSON: importing the model (`musabi.job.record`) would take a tenth of
the time that there is. What touches the volume may hang with it; `signal_runners` does not touch it.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musabi.errors import ExitCode
from musabi.pod.boot.supervisor import is_alive
from musabi.whole import read_json, write_json

GOING_ON = ("planned", "running")
EVENTS_TAIL_BYTES = 65_536


@dataclass(frozen=True)
class ActiveRun:
    """A run of this very container that has not ended. `started` is its runner's start in clock ticks."""

    folder: Path
    pid: int | None
    started: float | None

    @property
    def is_alive(self) -> bool:
        return self.pid is not None and is_alive(self.pid, self.started)


def active_runs(runs: Path, container: str) -> list[ActiveRun]:
    """Return the runs under `runs` that the processes of this container carry out or are about to."""
    files: list[Path] = []
    with contextlib.suppress(OSError):
        files = sorted(runs.glob("*/record.json"))
    found = []
    for file in files:
        with contextlib.suppress(Exception):  # one odd record must not hide the others
            record = read_json(file)
            pid = record.get("pid")
            run = ActiveRun(file.parent, pid if isinstance(pid, int) else None, record.get("pid_started"))
            starting = run.pid is None and time.time() - float(record.get("created", 0)) < 30
            here = record.get("container") == container and record.get("state") in GOING_ON
            if here and (starting or run.is_alive):
                found.append(run)
    return found


def signal_runners(runs: Iterable[ActiveRun]) -> None:
    """Ask each runner to end its run, by SIGTERM."""
    for run in runs:
        if run.pid is not None and run.is_alive:
            with contextlib.suppress(OSError, OverflowError):
                os.kill(run.pid, signal.SIGTERM)


def ask(runs: Iterable[ActiveRun]) -> None:
    """Leave the file that a runner looks for in the folder of each run, for one that heard no signal."""
    for run in runs:
        with contextlib.suppress(OSError):
            write_json(run.folder / "stop.json", {"after_save": False, "asked": time.time()}, sync=False)


def end_records(runs: Iterable[ActiveRun], say: Callable[[str], None]) -> None:
    """End the records of runs whose runner is gone without a word, and say what each says then."""
    for run in runs:
        message = end_record(run)
        if message:
            say(f"{run.folder.name}: {message}")


def end_record(run: ActiveRun) -> str | None:
    """End the record of a run whose runner is gone without a word; return what the record says then.

    None where the runner had ended it itself, or where it can't be written.
    """
    file = run.folder / "record.json"
    with contextlib.suppress(Exception):  # the container ends now, whatever the record holds
        record = read_json(file)
        if not isinstance(record, dict) or record.get("state") not in GOING_ON:
            return None
        step = last_step(run.folder / "events.jsonl")
        message = words(record, step)
        for outcome in record.get("steps", []):
            if outcome.get("state") == "running":
                outcome.update(state="stopped", ended=time.time())
        ended = {"state": "stopped", "exit_code": int(ExitCode.TERMINATED), "ended": time.time()}
        write_json(file, record | ended | {"message": message})
        return message
    return None


def words(record: dict[str, Any], step: int) -> str:
    """Return what was saved, what was lost, and the command that goes on."""
    cause = "The container was stopped before the run could end by itself."
    if step == 0:
        return f"{cause} Training had not begun, so nothing is lost. Start again with: musabi train"
    steps = ((record.get("plan") or {}).get("schedule") or {}).get("steps")
    at = f"{cause} It was at step {step}" + (f" of {steps}." if steps else ".")
    saved = newest_state(record)
    if saved is None:
        return f"{at} No state was saved yet, so {step} steps are lost. Start again with: musabi train"
    name, done = saved
    lost = max(0, step - done)
    since = "nothing is lost" if lost == 0 else f"{lost} steps since then are lost"
    return f"{at} The newest state is {name}; {since}. Go on with: musabi train --resume"


def newest_state(record: dict[str, Any]) -> tuple[str, int] | None:
    """Return (name, step) of the newest state of a run, or of the one that it went on from."""
    files = [file for file in record.get("files", []) if file.get("kind") == "state"]
    there = [file for file in files if Path(file["path"]).is_dir()]
    if there:
        newest = max(there, key=lambda file: float(file.get("made", 0)))
        leg = (record.get("legs") or [{}])[-1]
        by_epoch = (newest.get("epoch") or 0) * int(leg.get("steps_per_epoch", 0))
        return Path(newest["path"]).name, int(newest.get("step") or by_epoch or leg.get("steps", 0))
    if record.get("start_step"):
        return "the one that this run went on from", int(record["start_step"])
    return None


def last_step(events: Path) -> int:
    """Return the last step of the training in a run's events; 0 where none was taken."""
    try:
        with events.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - EVENTS_TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return 0
    for raw in reversed(lines):
        with contextlib.suppress(ValueError):
            event = json.loads(raw)
            if isinstance(event, dict) and event.get("phase") == "train" and event.get("step"):
                return int(event["step"])
    return 0
