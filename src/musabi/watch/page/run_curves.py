"""The numbers of a run as a chart needs them: at most so many columns, in which no spike is lost. Pure.

A column stands for `width` points that follow one another, and holds the lowest and the highest of them. `width` is
a power of two and columns are counted from the first point on, so that a run that grows changes its last column and
adds new ones: only these are sent to a browser that has the others.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from musabi.watch.page.run_series import Growing
from musabi.watch.series import Point

MOST_COLUMNS = 1500
DIGITS = 5


@dataclass(frozen=True)
class Have:
    """What a browser has of one series already: so many points, in columns of that width, after so many cuts."""

    cuts: int
    count: int
    width: int


@dataclass(frozen=True)
class Wanted:
    """What is asked for: a range of steps (None: all), and how strongly to smooth (see series.smooth)."""

    weight: float = 0.0
    first: int | None = None
    last: int | None = None
    have: Have | None = None


def column_width(count: int, most: int = MOST_COLUMNS) -> int:
    """Return the smallest power of two that puts `count` points into at most `most` columns."""
    width = 1
    while (count + width - 1) // width > most:
        width *= 2
    return width


def curve(growing: Growing, wanted: Wanted, *, smoothing: bool) -> dict[str, Any]:
    """Return one series as JSON: `from` is the number of its first column, the rest a list each.

    Of a column: `step` and `clock` (seconds of training) of its last point, `low` and `high`, and `smooth`, the
    moving average at its last point. null where nothing in it is a number. Without `high`, `low` is the value.
    """
    begin, end = _span(growing.series.steps, wanted)
    width = column_width(end - begin)
    begin -= begin % width
    since = begin
    have = wanted.have
    if have and begin == 0 and (have.cuts, have.width) == (growing.cuts, width) and have.count <= end:
        since = have.count - have.count % width
    ends = [min(at + width, end) - 1 for at in range(since, end, width)]
    made: dict[str, Any] = {
        "cuts": growing.cuts,
        "count": end,
        "width": width,
        "from": since // width if begin == 0 else 0,
        "step": [growing.series.steps[at] for at in ends],
        "clock": [round(growing.clock[at], 1) for at in ends],
    }
    made |= _extremes(growing, since, end, width)
    if smoothing:
        smoothed = growing.smoothed(wanted.weight)
        made["smooth"] = [_number(smoothed[at]) for at in ends]
    return made


def epoch_points(
    means: Sequence[Point], epoch_times: Sequence[float], growing: Growing | None, per_epoch: int
) -> dict[str, list[float | None]]:
    """Return the mean loss of each epoch with the step that it ended at.

    `epoch_times` says when each was logged, where it was: the step is the one that had been done by then. Else it is
    counted by `per_epoch` steps.
    """
    steps: list[float | None] = []
    for index, (epoch, _) in enumerate(means):
        if growing is not None and index < len(epoch_times):
            steps.append(step_at(growing, epoch_times[index]))
        else:
            steps.append(epoch * per_epoch if per_epoch else None)
    return {
        "epoch": [epoch for epoch, _ in means],
        "step": steps,
        "value": [_number(mean) for _, mean in means],
    }


def step_at(growing: Growing, moment: float) -> int:
    """Return the last step that was logged by a Unix time."""
    at = bisect_right(growing.series.times, moment)
    return growing.series.steps[max(0, at - 1)]


def _span(steps: Sequence[int], wanted: Wanted) -> tuple[int, int]:
    """Return the indices of the range with a neighbour on each side, so that lines leave the frame."""
    begin = 0 if wanted.first is None else max(0, bisect_left(steps, wanted.first) - 1)
    end = len(steps) if wanted.last is None else min(len(steps), bisect_right(steps, wanted.last) + 1)
    return begin, max(begin, end)


def _extremes(growing: Growing, since: int, end: int, width: int) -> dict[str, list[float | None]]:
    values = growing.series.values
    if width == 1:
        return {"low": [_number(value) for value in values[since:end]]}
    broken = bool(growing.broken)
    low: list[float | None] = []
    high: list[float | None] = []
    for at in range(since, end, width):
        piece: Sequence[float] = values[at : min(at + width, end)]
        if broken:
            piece = [value for value in piece if math.isfinite(value)]
        low.append(_number(min(piece)) if piece else None)
        high.append(_number(max(piece)) if piece else None)
    return {"low": low, "high": high}


def _number(value: float) -> float | None:
    """Return a value as JSON can hold it, with as many digits as a picture shows."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
