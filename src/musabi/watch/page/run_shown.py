"""The run that a page shows, with the runs that it goes on from; what was made of it is kept until a record changes."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from musabi.errors import RequestError
from musabi.job.record import RunFolder, RunRecord
from musabi.watch.lineage import Lineage
from musabi.watch.page.run_records import Run, records_of
from musabi.watch.page.run_series import earlier_runs
from musabi.watch.page.scene import Scene
from musabi.watch.series import Point
from musabi.watch.status import Progress

Signature = tuple[Any, ...]
T = TypeVar("T")
MEMORY = "run page"
MOST_REMEMBERED = 60
"""So much that was made of runs is kept in memory."""
_LOCK = threading.RLock()


@dataclass(frozen=True)
class Shown:
    """A run to show. `signature` is another one whenever its record changed, or one that it goes on from."""

    run: Run
    lineage: Lineage
    signature: Signature

    @property
    def id(self) -> str:
        return self.run.folder.path.name

    @property
    def folder(self) -> RunFolder:
        return self.run.folder

    @property
    def record(self) -> RunRecord:
        return self.run.record

    @property
    def goes_on(self) -> bool:
        return self.run.goes_on

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def output(self) -> Path:
        """The folder of its LoRA files."""
        return Path(str(self.record.job.get("output_dir", "")))


def shown_run(scene: Scene, run_id: str) -> Shown:
    """Return the run of that id; without one the newest that trains, or else the newest.

    Raises:
        RequestError: there is none, or its record can't be read.
    """
    records = records_of(scene)
    named = None if "\0" in run_id else records.one(run_id)
    run = named if run_id else newest(records.look())
    if run is None and run_id:
        raise RequestError(
            f'There is no run "{run_id[:80]}" in this workspace, or its record can\'t be read. Choose another.'
        )
    if run is None:
        raise RequestError("There is no run yet. Start one on the page Train.")
    all_runs = (*earlier_runs(run, records), run)
    signature = (*(each.stamp for each in all_runs), run.record.state.value)
    key = ("lineage", run.folder.path.name)
    return remember(scene, key, signature, lambda: Shown(run, _lineage(all_runs), signature))


def newest(runs: list[Run]) -> Run | None:
    """Return the newest run that trains, or else the newest; `runs` begin with the newest."""
    return next((run for run in runs if run.record.plan.get("schedule")), runs[0] if runs else None)


def _lineage(all_runs: tuple[Run, ...]) -> Lineage:
    """Return what watch.lineage reads, of records that are in memory."""
    known = {file.path: file for run in all_runs for file in run.record.files}
    files = tuple(sorted(known.values(), key=lambda file: file.made))
    return Lineage(tuple((run.folder, run.record) for run in all_runs), files)


def remember(scene: Scene, key: tuple[str, ...], signature: Signature, make: Callable[[], T]) -> T:
    """Return what `make` returned for this signature; it is called again only for another one."""
    with _LOCK:
        kept: OrderedDict[tuple[str, ...], tuple[Signature, Any]]
        kept = scene.memory.setdefault(MEMORY, OrderedDict())
        found = kept.get(key)
        if found is not None and found[0] == signature:
            kept.move_to_end(key)
            return found[1]  # type: ignore[no-any-return]
    made = make()
    with _LOCK:
        kept[key] = (signature, made)
        kept.move_to_end(key)
        while len(kept) > MOST_REMEMBERED:
            kept.popitem(last=False)
    return made


def progress_of(scene: Scene, folder: RunFolder) -> Progress:
    """Return a run's progress as far as its events tell it by now."""
    with _LOCK:
        progress = remember(scene, ("progress", folder.path.name), (), lambda: Progress(folder.events_file))
    progress.read_more()
    return progress


def losses_of(scene: Scene, lineage: Lineage) -> list[Point]:
    """Return (step, loss) of the whole training: what was trained again after a resume counts once."""
    points: list[Point] = []
    for folder, record in lineage.records:
        kept = [point for point in points if point[0] <= record.start_step]
        points = [*kept, *progress_of(scene, folder).losses]
    return points
