"""All runs of a workspace, newest first, quick at every look: a record is read again only where its file changed."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from musabi.job.record import GOING_ON, UNREADABLE, RunFolder, RunRecord, RunState
from musabi.watch.page.scene import Scene
from musabi.watch.page.stamp import NONE, Stamp, stamp_of
from musabi.whole import read_json


@dataclass(frozen=True)
class Run:
    """One run. `stamp` changes with its record; `record.state` is worked out anew at every look."""

    folder: RunFolder
    record: RunRecord
    stamp: Stamp

    @property
    def goes_on(self) -> bool:
        return self.record.state in GOING_ON

    @property
    def name(self) -> str:
        """What its files are called; the run's own id where the record does not say."""
        return str(self.record.job.get("output_name") or self.record.id)


class Records:
    """Remembers the records of one folder of runs. Several threads may look at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[Stamp, Run | None]] = {}
        self._lock = threading.Lock()

    def look(self) -> list[Run]:
        """Return the runs that can be read, newest first."""
        with self._lock:
            names = _names(self._folder)
            for gone in self._known.keys() - set(names):
                del self._known[gone]
            found = [run for name in names if (run := self._run(name)) is not None]
        return sorted(found, key=lambda run: (run.record.created, run.folder.path.name), reverse=True)

    def one(self, name: str) -> Run | None:
        """Return the run whose folder has that name; None where there is none, or it can't be read."""
        if not name or name != Path(name).name or name.startswith("."):
            return None
        with self._lock:
            return None if is_link(self._folder / name) else self._run(name)

    def _run(self, name: str) -> Run | None:
        known = self._known.get(name)
        folder = known[1].folder if known and known[1] else RunFolder(self._folder / name)
        stamp = stamp_of(folder.record_file)
        if stamp == NONE:
            return None
        if known is None or known[0] != stamp:
            known = (stamp, _read(folder, stamp))
            self._known[name] = known
        run = known[1]
        return None if run is None else _as_it_stands(run)


def records_of(scene: Scene) -> Records:
    """Return what the scene remembers of its runs."""
    records: Records = scene.memory.setdefault("run records", Records(scene.space.runs))
    return records


def is_link(path: Path) -> bool:
    """Tell whether a name leads elsewhere: no run's folder does."""
    try:
        return path.is_symlink()
    except (OSError, ValueError):
        return False


def _read(folder: RunFolder, stamp: Stamp) -> Run | None:
    try:
        record = RunRecord.model_validate(read_json(folder.record_file))
    except UNREADABLE:
        return None
    return Run(folder, record, stamp)


def _as_it_stands(run: Run) -> Run:
    """Return the run with `interrupted` as its state where its runner is gone (see RunFolder.load)."""
    record = run.record
    if record.state not in GOING_ON or run.folder.runner_is_alive(record):
        return run
    cut_off = RunState.INTERRUPTED.value
    steps = [
        step.model_copy(update={"state": cut_off}) if step.state == "running" else step
        for step in record.steps
    ]
    changed = {"state": RunState.INTERRUPTED, "steps": steps}
    return Run(run.folder, record.model_copy(update=changed), run.stamp)


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as found:
            return [one.name for one in found if not one.name.startswith(".") and not one.is_symlink()]
    except OSError:
        return []
