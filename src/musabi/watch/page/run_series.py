"""The numbers of runs, kept in memory while somebody looks: every look reads only what was written since.

A resumed run goes on where the runs before it stopped (see lineage); what was trained again counts once, as the
later run logged it. Event files hold the numbers; where there are none, the progress in events.jsonl does.
"""

import math
import threading
import time
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from musabi.errors import MachineError
from musabi.job.events import Event
from musabi.watch.losses import logging_dir, span_of, tag_of
from musabi.watch.page.behind import kept
from musabi.watch.page.run_records import Records, Run, records_of
from musabi.watch.page.scene import Scene
from musabi.watch.scalars import ScalarFile, event_files
from musabi.watch.series import Point, Series, continue_smoothing
from musabi.watch.status import Progress

MOST_RUNS = 8
"""So many runs' numbers are kept (about 10 MB each at 100,000 steps)."""
MOST_TAGS = 16
MOST_WEIGHTS = 4
LOOK_FOR_FILES_S, LOOK_FOR_FIRST_S = 15.0, 4.0
"""A run that goes on may open another event file: so often its folder is looked through; so often for the first."""
LOSS_TAGS = ("loss/current", "loss/average")
RATE_TAGS = ("lr/d*lr/unet", "lr/unet")
REMARK = "This run has no TensorBoard event files; the curve is the progress that its trainer printed."


@dataclass
class Growing:
    """One tag's numbers. `clock` holds seconds of training, without the pauses between files and runs.

    `cuts` counts how often numbers at the end were replaced: whoever holds numbers of another count has wrong ones.
    """

    series: Series = field(default_factory=Series)
    clock: "array[float]" = field(default_factory=lambda: array("d"))
    broken: list[int] = field(default_factory=list)
    cuts: int = 0
    _smoothed: "OrderedDict[float, Smoothed]" = field(default_factory=OrderedDict)

    def add(self, part: Series, *, begins: bool) -> None:
        """Append `part`; where it `begins` a file, what it trained again replaces what was there."""
        if not len(part):
            return
        if begins:
            self._cut(part.steps[0])
        last_time = None if begins else (self.series.times[-1] if len(self.series) else None)
        seconds = self.clock[-1] if self.clock else 0.0
        for time_, value in zip(part.times, part.values, strict=True):
            if last_time is not None:
                seconds += max(0.0, time_ - last_time)
            last_time = time_
            if not math.isfinite(value):
                self.broken.append(len(self.clock))
            self.clock.append(seconds)
        self.series.extend(part)

    def smoothed(self, weight: float) -> "array[float]":
        """Return the moving average of the values (see series.smooth), worked out for the new ones only."""
        known = self._smoothed.setdefault(weight, Smoothed(weight))
        self._smoothed.move_to_end(weight)
        while len(self._smoothed) > MOST_WEIGHTS:
            self._smoothed.popitem(last=False)
        known.take(self.series.values)
        return known.values

    def _cut(self, step: int) -> None:
        if not len(self.series) or self.series.steps[-1] < step:
            return
        at = bisect_left(self.series.steps, step)
        self.series.cut(at)
        del self.clock[at:]
        self.broken = [index for index in self.broken if index < at]
        self._smoothed.clear()
        self.cuts += 1


@dataclass
class Smoothed:
    """A moving average that grows."""

    weight: float
    values: "array[float]" = field(default_factory=lambda: array("d"))
    _last: float = 0.0
    _debias: float = 1.0

    def take(self, values: "array[float]") -> None:
        """Go on with the values that are new."""
        more, self._last, self._debias = continue_smoothing(
            values[len(self.values) :], self.weight, self._last, self._debias
        )
        self.values.extend(more)


class Told(Progress):
    """The progress that a trainer printed, as numbers by tag."""

    def __init__(self, events_file: Path) -> None:
        super().__init__(events_file)
        self.fresh: dict[str, Series] = {}

    def _take(self, event: Event | None) -> None:
        if event is None or event.phase != "train" or event.step is None or event.file is not None:
            return
        for name, value in (
            (tag_of(event), event.loss),
            ("lr/unet", event.lr if event.kind is None else None),
        ):
            if isinstance(value, int | float):
                self.fresh.setdefault(name, Series()).append(int(event.step), event.t or 0.0, float(value))


class Leg:
    """One run of a lineage: its event files, and where it has none its progress."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._told = Told(run.folder.events_file)
        self._files: dict[Path, ScalarFile] = {}
        self._begun: set[tuple[str, str]] = set()
        self._looked = -math.inf
        self.problem = ""

    def read_more(self, run: Run, scalars: dict[str, Growing], told: dict[str, Growing]) -> None:
        """Add what is new to `scalars`, and to `told` what was printed."""
        ended_since = self.run.goes_on and not run.goes_on
        self.run = run
        try:
            self._look_for_files(again=ended_since)
            for path, file in self._files.items():
                self._add(str(path), file.read_more(), scalars)
        except (MachineError, OSError) as problem:
            self.problem = str(problem)
        self._told.read_more()
        fresh, self._told.fresh = self._told.fresh, {}
        self._add("", fresh, told)

    def _add(self, source: str, fresh: dict[str, Series], whole: dict[str, Growing]) -> None:
        for tag, part in fresh.items():
            if not tag.startswith(("loss/", "lr/")) or (tag not in whole and len(whole) >= MOST_TAGS):
                continue
            whole.setdefault(tag, Growing()).add(part, begins=(source, tag) not in self._begun)
            self._begun.add((source, tag))

    def _look_for_files(self, *, again: bool) -> None:
        """Look for event files: an ended run's once, else now and then."""
        now = time.monotonic()
        wait = (LOOK_FOR_FILES_S if self._files else LOOK_FOR_FIRST_S) if self.run.goes_on else math.inf
        if not again and now - self._looked < wait and self._looked > -math.inf:
            return
        self._looked = now
        record = self.run.record
        for path in event_files(logging_dir(record), *span_of(self.run.folder, record)):
            self._files.setdefault(path, ScalarFile(path))


class RunSeries:
    """The numbers of one run with the runs that it goes on from."""

    def __init__(self, run: Run, earlier: Sequence[Run]) -> None:
        self.run = run
        self.legs = [Leg(each) for each in (*earlier, run)]
        self.scalars: dict[str, Growing] = {}
        self.told: dict[str, Growing] = {}
        self.words: tuple[object, list[str]] | None = None
        """What the run's convergence in words was last worked out for, and it; at `judged_at` points."""
        self.judged_at = 0
        self.means: tuple[object, list[Point]] | None = None
        """The same of its epochs' means."""
        self.lock = threading.RLock()
        self._whole = False

    def read_more(self, run: Run, records: Records) -> None:
        """Take in what was written since the last look."""
        self.run = run
        legs = self.legs[-1:] if self._whole else self.legs
        for leg in legs:
            now = run if leg is self.legs[-1] else records.one(leg.run.folder.path.name)
            leg.read_more(now or leg.run, self.scalars, self.told)
        self._whole = True

    @property
    def tags(self) -> dict[str, Growing]:
        """The numbers by tag: of the event files; where they hold no loss, what was printed besides."""
        return self.scalars if self._logged else self.told | self.scalars

    @property
    def _logged(self) -> bool:
        return any(tag in self.scalars for tag in LOSS_TAGS)

    @property
    def remark(self) -> str | None:
        """Where the numbers come from when it isn't event files, or why there are none."""
        if self._logged:
            return None
        problem = next((leg.problem for leg in self.legs if leg.problem), "")
        return " ".join(said for said in (problem, REMARK if self.told else "") if said) or None

    @property
    def loss(self) -> tuple[str, Growing] | None:
        """The loss of each step and its tag; where that was not logged, its mean as it was printed."""
        return self._first(LOSS_TAGS)

    @property
    def rate(self) -> tuple[str, Growing] | None:
        """The learning rate and its tag: Prodigy's own where it was logged."""
        return self._first(RATE_TAGS)

    def _first(self, tags: Sequence[str]) -> tuple[str, Growing] | None:
        return next(((tag, self.tags[tag]) for tag in tags if tag in self.tags), None)

    @property
    def version(self) -> str:
        """Another one for every change of the numbers or of the run's state."""
        counts = (f"{tag}:{one.cuts}:{len(one.series)}" for tag, one in sorted(self.tags.items()))
        return f"{self.run.record.state.value} {len(self.run.record.files)} " + " ".join(counts)


def series_of(scene: Scene, run_id: str) -> RunSeries | None:
    """Return a run's numbers as they are now, or None where there is no such run."""
    records = records_of(scene)
    run = records.one(run_id)
    if run is None:
        return None
    with kept(scene.memory, "run series lock", threading.Lock):
        known = kept(scene.memory, "run series", OrderedDict[str, RunSeries])
        if run_id not in known:
            known[run_id] = RunSeries(run, earlier_runs(run, records))
        known.move_to_end(run_id)
        while len(known) > MOST_RUNS:
            known.popitem(last=False)
        found = known[run_id]
    with found.lock:
        found.read_more(run, records)
    return found


def earlier_runs(run: Run, records: Records) -> list[Run]:
    """Return the runs that this one goes on from, oldest first."""
    found: list[Run] = []
    known = {run.record.id}
    while (name := (found[0] if found else run).record.resumed_from) and name not in known:
        earlier = records.one(name)
        if earlier is None:
            break
        known.add(name)
        found.insert(0, earlier)
    return found
