"""How the pod stands, looked at once for all the parts of its page."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from musabi.identity import identity
from musabi.watch.page.behind import kept
from musabi.watch.page.run_records import Run, records_of
from musabi.watch.page.run_shown import progress_of
from musabi.watch.page.scene import Scene
from musabi.watch.status import Status, run_values, worth_telling

SHARED_SECONDS = 1.0
"""A look serves every part and tab that asks within this."""


@dataclass
class Look:
    """What is known by now; only new lines of the runs' events are read."""

    status: Status
    values: dict[str, Any] = field(default_factory=dict)
    made: float = float("-inf")
    lock: threading.Lock = field(default_factory=threading.Lock)


def look(scene: Scene) -> Mapping[str, Any]:
    """Return what `Status.look` returns and, as `going`, the runs that go on, newest first.

    Each of them has what `run_values` holds and `elsewhere`: whether another pod on the same volume carries it out.
    """
    known = kept(scene.memory, "pod.look", lambda: Look(Status(scene.settings, scene.places, scene.problem)))
    with known.lock:
        if time.monotonic() - known.made >= SHARED_SECONDS:
            runs = records_of(scene).look()
            values = known.status.look(run=to_tell(runs))
            known.values = values | {"going": _going(scene, runs, values["run"])}
            known.made = time.monotonic()
        return known.values


def to_tell(runs: list[Run]) -> str:
    """Return the id of the run to tell of, as `run_to_tell` does, or "" where there is none."""
    told = [run for run in runs if worth_telling(run.record)] or runs
    return told[0].folder.path.name if told else ""


def _values(scene: Scene, run: Run) -> dict[str, Any]:
    return run_values(run.folder, run.record, progress_of(scene, run.folder))


def _going(scene: Scene, runs: list[Run], newest: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the runs that go on; the one that was looked at already is not read twice."""
    found = []
    for run in runs:
        if run.goes_on:
            same = newest is not None and newest["id"] == run.record.id
            values = newest if newest is not None and same else _values(scene, run)
            found.append(values | {"elsewhere": _elsewhere(run.record.container)})
    return found


def _elsewhere(container: str) -> bool:
    """Tell whether a record names another boot or process-id namespace; a pod's id, the first word, may be missing."""
    return bool(container) and container.split()[1:] != identity().split()[1:]
