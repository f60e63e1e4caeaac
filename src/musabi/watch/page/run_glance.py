"""A run's loss at a glance, for a list: a small line and the newest value, from its events.

An events file of a long run has tens of megabytes. So a large one is read in places, far less than the whole of it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from musabi.job.events import Event, parse
from musabi.watch.page.stamp import NONE, Stamp, stamp_of
from musabi.watch.series import Point
from musabi.watch.status import averaged

WHOLE_BYTES = 128 * 1024
PLACES, PLACE_BYTES = 48, 1024
TAIL_BYTES = 8 * 1024
MOST_POINTS = 60
AGAIN_SHARE = 0.02
"""The line of a run that goes on is drawn again where its events have grown by so much; the value at every look."""


@dataclass(frozen=True)
class Glance:
    """A loss that was reported: a few points of it, the newest value, the newest step (None: there is none yet)."""

    points: tuple[Point, ...] = ()
    loss: float | None = None
    step: int | None = None
    size: int = 0
    stamp: Stamp = NONE


def glance(events_file: Path, before: Glance | None = None) -> Glance:
    """Return a run's loss as it is now; `before` is what the last look found."""
    stamp = stamp_of(events_file)
    if stamp == NONE:
        return Glance()
    if before is not None and before.stamp == stamp:
        return before
    size = stamp[1]
    tail = _losses(events_between(events_file, max(0, size - TAIL_BYTES), size))
    if before is not None and before.points and size <= before.size * (1 + AGAIN_SHARE):
        points, drawn = before.points, before.size
    else:
        points, drawn = tuple(averaged(_some(events_file, size), MOST_POINTS)), size
    step, loss = tail[-1] if tail else (points[-1] if points else (None, None))
    return Glance(points, loss, None if step is None else int(step), drawn, stamp)


def _some(events_file: Path, size: int) -> list[Point]:
    """Return the losses of a small file, of a large one those in places that lie evenly over it."""
    if size <= WHOLE_BYTES:
        return _losses(events_between(events_file, 0, size))
    found: list[Point] = []
    for place in range(PLACES):
        start = (size - PLACE_BYTES) * place // (PLACES - 1)
        found += averaged(_losses(events_between(events_file, start, start + PLACE_BYTES)), 1)
    return found


def events_between(events_file: Path, start: int, end: int) -> Iterator[Event]:
    """Yield the events on the whole lines between two bytes of a run's events; none where it has no such file."""
    try:
        with events_file.open("rb") as file:
            file.seek(start)
            lines = file.read(end - start).split(b"\n")
    except OSError:
        return
    for line in lines[1 if start else 0 : -1]:
        event = parse(line.decode("utf-8", errors="replace"))
        if event is not None:
            yield event


def _losses(events: Iterator[Event]) -> list[Point]:
    return [
        (float(event.step), event.loss)
        for event in events
        if event.phase == "train" and event.kind is None and event.file is None
        if isinstance(event.step, int) and isinstance(event.loss, int | float) and math.isfinite(event.loss)
    ]
