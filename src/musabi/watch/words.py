"""What the loss curves say, in careful words: values in, sentences out.

The loss of a diffusion model depends on the noise and the timestep that were drawn, so single values tell
next to nothing. The sentences here are about means over epochs, and name a trend only where it stands out
from the scatter of those means.
"""

import math
from collections.abc import Mapping, Sequence

from musabi.watch.series import Point, Series, smooth

# Below this many epochs a trend or a lowest epoch says nothing; a tail must have so many to be level.
MIN_EPOCHS = 10
TAIL_EPOCHS = 6
# A slope counts where it is more than three times its own standard error (about 99 % confidence for 20
# epochs; several are tested, so 95 % would find one too often).
SIGNIFICANT = 3.0
# Less than this relative change reads as none.
LEVEL = 0.02
EPOCH_WEIGHT = 0.6
"""How strongly the means of epochs are smoothed where the lowest is looked for: over about 2.5 epochs."""
AFTER_BROKEN = (
    "Checkpoints made after it are most likely useless. A lower learning rate, or bf16 instead of fp16, is the usual "
    "mend."
)
# d0, where Prodigy's estimate of the step size begins (prodigyopt 1.1.2).
PRODIGY_START = 1e-6


def convergence(series: Mapping[str, Series], steps_per_epoch: int = 0) -> list[str]:
    """Return what the scalars of a run say about its convergence, a sentence or two each.

    `series` holds the contract's tags; `steps_per_epoch` (0: unknown) cuts `loss/current` into epochs
    where `loss/epoch` was not logged.
    """
    said = []
    broken = _broken(series)
    if broken:
        said.append(broken)
    means = epoch_means(series, steps_per_epoch)
    if len(means) >= 2:
        said.append(_change(means))
    elif steps := (series.get("loss/current") or Series()).points():
        said.append(_change_over_steps(steps))
    if len(means) >= MIN_EPOCHS:
        said.extend((_lowest(means), _trend(means)))
    fixed = (series.get("loss/fixed") or Series()).points()
    if len(fixed) >= 2:
        said.append(_fixed(fixed))
    prodigy = (series.get("lr/d*lr/unet") or Series()).points()
    if len(prodigy) >= 2:
        said.append(_prodigy(prodigy))
    return said


def epoch_means(series: Mapping[str, Series], steps_per_epoch: int = 0) -> list[Point]:
    """Return (epoch, mean loss): from `loss/epoch`, or else from whole epochs of `loss/current`."""
    logged = (series.get("loss/epoch") or Series()).points()
    if logged or steps_per_epoch < 1:
        return logged
    epochs: dict[int, list[float]] = {}
    for step, value in (series.get("loss/current") or Series()).points():
        epochs.setdefault((int(step) - 1) // steps_per_epoch + 1, []).append(value)
    return [
        (float(epoch), sum(values) / len(values))
        for epoch, values in sorted(epochs.items())
        if len(values) >= steps_per_epoch
    ]


def epoch_ends(series: Mapping[str, Series], steps_per_epoch: int) -> list[Point]:
    """Return (epoch, mean loss) from `loss/average`, a mean over the last epoch's steps: its last value in each.

    Only of whole epochs, and of those whose last value was logged in their last tenth.
    """
    ends: dict[int, tuple[int, float]] = {}
    for step, value in (series.get("loss/average") or Series()).points():
        ends[(int(step) - 1) // steps_per_epoch + 1] = (int(step), value)
    whole = max((step for step, _ in ends.values()), default=0) // steps_per_epoch
    return [
        (float(epoch), value)
        for epoch, (step, value) in sorted(ends.items())
        if 1 <= epoch <= whole and epoch * steps_per_epoch - step <= steps_per_epoch / 10
    ]


def slope_in_errors(values: Sequence[float], against: Sequence[float] | None = None) -> float:
    """Return the slope of the least-squares line through `values`, in units of its standard error.

    `against` holds their x (0, 1, 2 ... where not given). 0 where the values don't change, infinite (with
    its sign) where they lie on a sloping line.
    """
    slope, rest, spread = _least_squares(values, against or range(len(values)))
    tiny = 1e-9 * (abs(sum(values)) / len(values) or 1.0)
    if abs(slope) * math.sqrt(spread) < tiny:
        return 0.0
    error = math.sqrt(max(rest, 0.0) / max(1, len(values) - 2) / spread)
    return slope / error if error * math.sqrt(spread) > tiny else math.copysign(math.inf, slope)


def trend(means: Sequence[Point]) -> tuple[str, float | None]:
    """Return how a curve of epoch means ends: `falling`, `rising`, `level`, `fell`, `rose` or `scatter`; since when.

    `means` holds at least `MIN_EPOCHS` points. Where the last fifth still slopes, that is the answer. Else a
    line that goes on level from a knee is fitted, with the knee of the least squared error; `level` is given
    from the first epoch at or after the knee from which on no slope stands out. Where too few epochs follow for
    that, and the knee fits better than a straight line, it is `fell` or `rose` until the knee. `scatter`: not even
    the fitted line's slope stands out.
    """
    values = [value for _, value in means]
    last = len(values) - max(TAIL_EPOCHS, math.ceil(len(values) / 5))
    ending = slope_in_errors(values[last:])
    if abs(ending) >= SIGNIFICANT:
        return _direction(ending), None
    knees = range(1, last + 1, max(1, last // 200))
    best = min(knees, key=lambda at: _least_squares(values, _hinge(at, len(values)))[1])
    whole = slope_in_errors(values, _hinge(best, len(values)))
    if abs(whole) < SIGNIFICANT:
        return "scatter", None
    for knee in knees[knees.index(best) : -1]:
        if abs(slope_in_errors(values[knee:])) < SIGNIFICANT:
            return "level", means[knee][0]
    straight = _least_squares(values, range(len(values)))[1]
    if _least_squares(values, _hinge(best, len(values)))[1] < straight:
        return ("fell" if whole < 0 else "rose"), means[best][0]
    return _direction(whole), None


def _direction(slope: float) -> str:
    return "falling" if slope < 0 else "rising"


def _hinge(knee: int, count: int) -> list[float]:
    """Return an x that grows up to the knee and stays there."""
    return [float(min(index, knee)) for index in range(count)]


def _least_squares(values: Sequence[float], against: Sequence[float]) -> tuple[float, float, float]:
    """Return (slope, squared error left, spread of x) of the line through `values` over `against`."""
    middle, mean = sum(against) / len(against), sum(values) / len(values)
    spread = sum((x - middle) ** 2 for x in against)
    if not spread:
        return 0.0, math.inf, 0.0
    slope = sum((x - middle) * (value - mean) for x, value in zip(against, values, strict=True)) / spread
    rest = sum((value - mean - slope * (x - middle)) ** 2 for x, value in zip(against, values, strict=True))
    return slope, rest, spread


def _broken(series: Mapping[str, Series]) -> str | None:
    for tag in ("loss/current", "loss/epoch", "loss/average"):
        step = series[tag].first_not_finite() if tag in series else None
        if step is not None:
            unit = "epoch" if tag == "loss/epoch" else "step"
            return f"The loss was not a number from {unit} {step:,} on. {AFTER_BROKEN}"
    return None


def _change(means: Sequence[Point]) -> str:
    width = max(1, len(means) // 10)
    first = sum(value for _, value in means[:width]) / width
    last = sum(value for _, value in means[-width:]) / width
    if width == 1:
        where = (f"in epoch {means[0][0]:.0f}", f"in epoch {means[-1][0]:.0f}")
    else:
        where = (f"in the first {width} epochs", f"in the last {width}")
    return "The mean loss " + _went(first, last, *where)


def _change_over_steps(points: Sequence[Point]) -> str:
    width = max(1, len(points) // 5)
    first = sum(value for _, value in points[:width]) / width
    last = sum(value for _, value in points[-width:]) / width
    steps = "step" if width == 1 else f"{width} steps"
    said = _went(first, last, f"over the first {steps}", f"over the last {steps}")
    return f"The mean loss {said} That is less than two epochs, too little to call it a trend."


def _went(first: float, last: float, where_first: str, where_last: str) -> str:
    change = (last - first) / abs(first) if first else 0.0
    if abs(change) < LEVEL:
        return f"stayed about level: {first:.3g} {where_first}, {last:.3g} {where_last}."
    verb, adverb = ("fell", "lower") if change < 0 else ("rose", "higher")
    return f"{verb} from {first:.3g} {where_first} to {last:.3g} {where_last} ({abs(change):.0%} {adverb})."


def _lowest(means: Sequence[Point]) -> str:
    smoothed = smooth([value for _, value in means], EPOCH_WEIGHT)
    index = min(range(len(smoothed)), key=lambda i: smoothed[i])
    said = f"Smoothed over a few epochs, it was lowest at epoch {means[index][0]:.0f} ({smoothed[index]:.3g})"
    if index == len(means) - 1:
        return f"{said}, the last one."
    return f"{said}; at the end it was {smoothed[-1]:.3g}."


def _trend(means: Sequence[Point]) -> str:
    how, at = trend(means)
    since = "" if at is None else f"{at:.0f}"
    if how == "level":
        return f"Since about epoch {since} no further change stands out from the scatter between epochs."
    return {
        "fell": f"It fell until about epoch {since}; too few epochs follow to say whether it goes on.",
        "rose": f"It rose until about epoch {since}: look at the samples of earlier checkpoints first.",
        "falling": "It was still falling when the run ended: more epochs may bring more.",
        "rising": "It was rising towards the end: look at the samples of earlier checkpoints first.",
        "scatter": "Over the run as a whole no trend stands out from the scatter between epochs.",
    }[how]


def _fixed(points: Sequence[Point]) -> str:
    (first_step, first), (last_step, last) = points[0], points[-1]
    said = "Measured on the same noise and timesteps each time (loss/fixed), the loss " + _went(
        first, last, f"at step {first_step:,.0f}", f"at step {last_step:,.0f}"
    )
    low_step, low = min(points, key=lambda point: point[1])
    if low < last - LEVEL * abs(last) and low_step != first_step:
        said += f" Its lowest value was {low:.3g}, at step {low_step:,.0f}."
    return said


def _prodigy(points: Sequence[Point]) -> str:
    """Say where Prodigy's estimate went from its start, `PRODIGY_START`."""
    (_, first), (_, last) = points[0], points[-1]
    highest = max(value for _, value in points)
    if highest <= PRODIGY_START * 10:
        return (
            f"Prodigy's step size never got beyond {highest:.2g}: it learnt next to nothing. "
            "Longer training, or PRODIGY_D_COEF above 1, is the usual mend."
        )
    if highest <= first * 1.5:
        return f"Prodigy's step size stayed near {highest:.2g} from its first value on."
    reached = next(int(step) for step, value in points if value >= highest * 0.9)
    said = (
        f"Prodigy raised its step size from {first:.2g} to {highest:.2g}, most of it by step {reached:,.0f}"
    )
    return f"{said}." if last >= highest * 0.9 else f"{said}; it ended at {last:.2g}."
