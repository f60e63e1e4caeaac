"""How the pod stands, as values: boot report, services, bootstrap, newest run, an announced stop.

Files are read when somebody asks, and only what is new in a run's progress. A file that is not there, or
holds what was not expected, makes a part missing, never an error.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

from musabi.errors import MusabiError
from musabi.job.events import Event, parse
from musabi.job.record import RunFolder, RunRecord, RunState, runs
from musabi.pod.bootstrap.state import bootstrap_status
from musabi.pod.places import PodPlaces
from musabi.pod.stopping.store import Store
from musabi.settings import Settings
from musabi.watch.next_step import next_step
from musabi.watch.series import Point
from musabi.whole import read_json
from musabi.workspace import Workspace

MOST_POINTS = 120
VALUE = itemgetter(1)
MOST_MESSAGES = 60


@dataclass
class Progress:
    """What is known of one run's progress; `read_more` takes in what was written since."""

    events_file: Path
    newest: Event | None = None
    losses: list[Point] = field(default_factory=list)
    messages: deque[Event] = field(default_factory=lambda: deque(maxlen=MOST_MESSAGES))
    _position: int = 0
    _reading: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def read_more(self) -> None:
        """Read the lines that are new and whole; several threads may ask at once, and each line counts once."""
        try:
            with self._reading, self.events_file.open("rb") as file:
                file.seek(self._position)
                while (line := file.readline()).endswith(b"\n"):
                    self._position = file.tell()
                    self._take(parse(line.decode("utf-8", errors="replace")))
        except OSError:
            return

    @property
    def values(self) -> dict[str, Any]:
        """The newest event's values by name, without those that it does not say; {} before the first."""
        newest = {} if self.newest is None else vars(self.newest)
        return {name: value for name, value in newest.items() if value is not None}

    def _take(self, event: Event | None) -> None:
        if event is not None and event.message:
            self.messages.append(event)
        if event is None or event.step is None or event.file is not None or event.kind is not None:
            return
        self.newest = event
        if event.phase == "train" and event.loss is not None and math.isfinite(event.loss):
            self.losses.append((float(event.step), event.loss))


class Status:
    """Looks at one workspace and one pod, as often as asked; `look` is cheap where little is new.

    `places` is where the pod's boot keeps its files; `problem` says what is wrong with the environment's
    variables, where something is.
    """

    def __init__(self, settings: Settings, places: PodPlaces, problem: str | None = None) -> None:
        self._problem = problem
        self._space = settings.space
        self._places = places
        self._images = settings.space.images
        self._progress: Progress | None = None

    def look(self, now: float | None = None, run: str = "") -> dict[str, Any]:
        """Return everything that the status page shows; `now` is Unix seconds.

        `run` is the id of a run to show in place of the newest one.

        `report` holds the boot report's rows, `services` a row each, `bootstrap` what `bootstrap_status`
        returns, `run` the newest run, `stop` an announced stop; each is empty or None where there is none.
        """
        values: dict[str, Any] = {
            "now": time.time() if now is None else now,
            "workspace": str(self._space.root),
            "problem": self._problem,
            "report": _rows(read_json(self._places.report)),
            "services": _services(read_json(self._places.boot)),
            "bootstrap": _bootstrap(self._space),
            "run": self._run(run),
            "stop": announced_stop(self._places),
            "images": _has_images(self._images),
        }
        return values | {"next": next_step(values)}

    def _run(self, name: str) -> dict[str, Any] | None:
        named = bool(name) and name == Path(name).name and name != ".."
        try:
            folder = RunFolder(self._space.runs / name) if named else run_to_tell(self._space.runs)
            record = folder.load() if folder else None
        except (MusabiError, OSError, AttributeError, TypeError, ValueError):
            return None
        if folder is None or record is None:
            return None
        if self._progress is None or self._progress.events_file != folder.events_file:
            self._progress = Progress(folder.events_file)
        self._progress.read_more()
        return run_values(folder, record, self._progress)


def run_to_tell(folder: Path) -> RunFolder | None:
    """Return the newest run, but a training rather than what was prepared well after it; None: there is none."""
    found = runs(folder)
    for run in reversed(found):
        if worth_telling(run.load()):
            return run
    return found[-1] if found else None


def worth_telling(record: RunRecord) -> bool:
    """Tell whether a run trained or did not end well: what was only prepared is not worth telling of."""
    return record.state is not RunState.DONE or bool(record.plan.get("schedule"))


def run_values(folder: RunFolder, record: RunRecord, progress: Progress) -> dict[str, Any]:
    """Return a run for the status page: how it stands, its steps, the newest progress, loss, files."""
    return {
        "id": record.id,
        "name": str(record.job.get("output_name", "")),
        "trains": bool(record.plan.get("schedule")),
        "state": record.state.value,
        "message": record.message,
        "started": record.created,
        "ended": record.ended,
        "folder": str(folder.path),
        "steps": [{"title": step.title, "name": step.name, "state": step.state} for step in record.steps],
        "progress": progress.values,
        "losses": [[step, round(loss, 6)] for step, loss in averaged(progress.losses, MOST_POINTS)],
        "files": [{"name": file.path.name, "kind": file.kind, "size": file.size} for file in record.files],
    }


def averaged(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most `most` points: runs of neighbours, each as its last step and the mean of its values."""
    runs = min(most, len(points))
    cuts = [len(points) * index // runs for index in range(runs + 1)] if runs else []
    return [
        (points[end - 1][0], sum(map(VALUE, points[start:end])) / (end - start))
        for start, end in pairwise(cuts)
    ]


def announced_stop(places: PodPlaces) -> dict[str, Any] | None:
    """Return {"action", "cause", "at"} of a stop that is announced, or None; `at` is Unix seconds."""
    announced = Store(places).standing().announcement
    if announced is None:
        return None
    return {"action": announced.action, "cause": announced.why, "at": announced.at}


def _rows(report: Any) -> list[dict[str, str]]:  # noqa: ANN401 - a JSON value
    """Return the boot report's rows: name, state, text and, a line each, more."""
    rows = report.get("rows") if isinstance(report, dict) else report
    if not isinstance(rows, list):
        return []
    return [
        {
            "name": str(row.get("name", "")),
            "state": str(row.get("state", "")),
            "text": str(row.get("text", "")),
            "more": "\n".join(map(str, row.get("more") or ())),
        }
        for row in rows
        if isinstance(row, dict)
    ]


def _bootstrap(space: Workspace) -> dict[str, Any] | None:
    """Return how the bootstrap stands, each stage with a state and a message."""
    try:
        found = bootstrap_status(space)
        if found is None:
            return None
        stages = {
            str(name): {"state": "", "message": "", "bytes": 0, "total": 0} | stage
            for name, stage in found["stages"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return found | {"stages": stages}


def _services(boot: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a JSON value
    services = boot.get("services") if isinstance(boot, Mapping) else None
    if not isinstance(services, dict):
        return []
    return [
        {
            "name": str(name),
            "state": str(service.get("state", "")),
            "message": str(service.get("message") or ""),
        }
        for name, service in services.items()
        if isinstance(service, dict)
    ]


def _has_images(folder: Path) -> bool:
    try:
        return any(not path.name.startswith(".") and path.suffix != ".txt" for path in folder.iterdir())
    except OSError:
        return False
