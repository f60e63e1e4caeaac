"""Series of numbers over steps: smoothing, thinning for a drawing, putting a resumed run together.

Everything here is pure; reading event files is `scalars`.
"""

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Point = tuple[float, float]


@dataclass
class Series:
    """The values of one tag in the order they were logged.

    `steps` count optimizer steps (epochs for the tag `loss/epoch`), `times` are Unix seconds. Arrays, not
    lists, so that 100,000 points take 2.4 MB.
    """

    steps: "array[int]" = field(default_factory=lambda: array("q"))
    times: "array[float]" = field(default_factory=lambda: array("d"))
    values: "array[float]" = field(default_factory=lambda: array("d"))

    def __len__(self) -> int:
        return len(self.steps)

    def append(self, step: int, time: float, value: float) -> None:
        self.steps.append(step)
        self.times.append(time)
        self.values.append(value)

    def extend(self, more: "Series") -> None:
        """Append all of `more`."""
        self.steps.extend(more.steps)
        self.times.extend(more.times)
        self.values.extend(more.values)

    def cut(self, count: int) -> None:
        """Keep the first `count` points only."""
        del self.steps[count:], self.times[count:], self.values[count:]

    def points(self) -> list[Point]:
        """Return (step, value) for the finite values."""
        return [
            (float(step), value)
            for step, value in zip(self.steps, self.values, strict=True)
            if math.isfinite(value)
        ]

    def first_not_finite(self) -> int | None:
        """Return the step of the first value that is NaN or infinite, or None."""
        return next(
            (step for step, value in zip(self.steps, self.values, strict=True) if not math.isfinite(value)),
            None,
        )


def make_series(rows: Iterable[tuple[int, float, float]]) -> Series:
    """Return a series of (step, Unix time, value) rows."""
    series = Series()
    for step, time, value in rows:
        series.append(step, time, value)
    return series


def continued(earlier: Series, later: Series) -> Series:
    """Return `earlier` followed by `later`, as one run.

    Points of `earlier` at or after the first step of `later` were trained again after a resume, and are
    left out.
    """
    if not len(later):
        return earlier
    start = later.steps[0]
    joined = make_series(
        row for row in zip(earlier.steps, earlier.times, earlier.values, strict=True) if row[0] < start
    )
    joined.extend(later)
    return joined


def smooth(values: Sequence[float], weight: float) -> list[float]:
    """Return the exponential moving average of `values`, as TensorBoard's scalar charts draw it.

    The average starts at 0 and is divided by 1 - weight^n, so that the first values are not pulled down
    (TensorBoard, tensorboard/components/vz_line_chart2/line-chart.ts, `resmoothDataset`). Values that are
    not finite are passed on as they are. `weight` lies in [0, 1).
    """
    return continue_smoothing(values, weight)[0]


def continue_smoothing(
    values: Sequence[float], weight: float, last: float = 0.0, debias: float = 1.0
) -> tuple[list[float], float, float]:
    """Return the next values of a moving average, and what it goes on from: see `smooth`.

    `last` and `debias` are what the call before returned.
    """
    smoothed: list[float] = []
    for value in values:
        if not math.isfinite(value):
            smoothed.append(value)
            continue
        last = last * weight + (1 - weight) * value
        debias *= weight
        smoothed.append(last / (1 - debias))
    return smoothed, last, debias


def smoothing_window(count: int) -> int:
    """Return over about how many of `count` values to smooth: a twentieth, at least 5, at most 500."""
    return max(5, min(500, count // 20))


def smoothing_weight(window: int) -> float:
    """Return the weight whose moving average looks back over about `window` values: 1 - 1/window."""
    return 1 - 1 / window


def thin(points: Sequence[Point], limit: int) -> list[Point]:
    """Return at most `limit` of the points that draw the same picture, in their order.

    The points are cut into equal runs and the lowest and the highest of each are kept, so that no peak is
    lost; the first and the last point stay.
    """
    if len(points) <= limit:
        return list(points)
    runs = max(1, (limit - 2) // 2)
    inner = len(points) - 2
    kept = [points[0]]
    for run in range(runs):
        piece = points[1 + run * inner // runs : 1 + (run + 1) * inner // runs]
        if piece:
            low = min(range(len(piece)), key=lambda i: piece[i][1])
            high = max(range(len(piece)), key=lambda i: piece[i][1])
            kept.extend(piece[i] for i in sorted({low, high}))
    kept.append(points[-1])
    return kept
