"""What a run's loss says about its convergence, and what it can't say. Pure: numbers in, sentences out.

The loss of a diffusion model depends on the noise and the timestep that were drawn for each image far more than on
what the LoRA has learnt. So everything here rests on means over epochs, names nothing that does not stand out from
their scatter, and ends by saying that samples decide.
"""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from musabi.watch.series import Point, Series, smooth
from musabi.watch.words import AFTER_BROKEN, EPOCH_WEIGHT, MIN_EPOCHS, trend

BAND = 401
"""A loss is compared with so many of the steps before it."""
FEWEST = 50
"""With fewer steps before it there is no band yet."""
OUTSIDE = 5.0
"""A loss lies outside of the band where it is so many scales above the median: of 100,000 steps that scatter about it
(normal, gamma or exponential) at most two do."""
LEAST_SCALE = 0.05
"""The scale is at least so much of a logarithm: in a quiet run a rise by less than a third is no spike."""
TOGETHER = 20
"""Spikes so many steps apart are one."""
MOST_NAMED = 3
WEAK = "Loss is a weak guide for a LoRA. Compare samples before you choose a checkpoint."


@dataclass(frozen=True)
class Spike:
    """A step at which the loss left its running band: what it was, and what was usual before."""

    step: int
    value: float
    usual: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint: what it is called on the page, its step, its epoch (a fraction where it was saved by steps)."""

    label: str
    step: int
    epoch: float


@dataclass(frozen=True)
class Verdict:
    """What the numbers say. `how` is "short", or how the epoch means end (see words.trend), `since` which epoch.

    `good` holds the first and the last epoch whose smoothed mean is as low as the best one's within the scatter.
    """

    how: str
    epochs: int
    since: float | None = None
    best: Point | None = None
    good: tuple[float, float] | None = None
    nearest: Saved | None = None
    spikes: tuple[Spike, ...] = ()
    broken: int | None = None


def judge(
    means: Sequence[Point], steps: Series, broken: int | None = None, saved: Sequence[Saved] = ()
) -> Verdict:
    """Return the verdict on a run: `means` holds (epoch, mean loss), `steps` the loss of each step.

    `broken` is the first step whose loss was no number. `saved` are the checkpoints to choose from.
    """
    found = spikes(steps)
    if len(means) < MIN_EPOCHS:
        return Verdict("short", len(means), spikes=found, broken=broken)
    how, since = trend(means)
    best, good = best_epoch(means)
    nearest = min(saved, key=lambda one: (abs(one.epoch - best[0]), one.epoch), default=None)
    return Verdict(how, len(means), since, best, good, nearest, found, broken)


def best_epoch(means: Sequence[Point]) -> tuple[Point, tuple[float, float]]:
    """Return the epoch with the lowest smoothed mean (and that mean), and from where to where others are as good.

    The scatter of epochs is that of the differences between neighbours, divided by the square root of 2 (von
    Neumann et al. 1941, "The mean square successive difference"): a trend hardly adds to it. A moving average of
    weight w has sqrt((1 - w) / (1 + w)) of it (the sum of its squared weights); two averages differ by noise alone
    where they are no further apart than the square root of 2 of these.
    """
    values = [value for _, value in means]
    smoothed = smooth(values, EPOCH_WEIGHT)
    at = min(range(len(smoothed)), key=lambda index: smoothed[index])
    squares = [(b - a) ** 2 for a, b in pairwise(values)]
    scatter = math.sqrt(sum(squares) / len(squares) / 2) if squares else 0.0
    noise = scatter * math.sqrt((1 - EPOCH_WEIGHT) / (1 + EPOCH_WEIGHT)) * math.sqrt(2)
    first = last = at
    while first > 0 and smoothed[first - 1] <= smoothed[at] + noise:
        first -= 1
    while last + 1 < len(smoothed) and smoothed[last + 1] <= smoothed[at] + noise:
        last += 1
    return (means[at][0], smoothed[at]), (means[first][0], means[last][0])


def spikes(losses: Series) -> tuple[Spike, ...]:
    """Return where the loss left its running band upwards, in the order of steps; neighbours count once.

    The band is Hampel's (Davies and Gather 1993, "The identification of multiple outliers"): the median of the steps
    before, and a scale that outliers can't stretch. Losses are skewed, single steps of a sound run differ by a
    factor of forty; so logarithms are compared, and the scale is that of their upper half: (third quartile - median)
    / 0.6745, which is the standard deviation where they are normal.
    """
    window: deque[float] = deque()
    ordered: list[float] = []
    found: list[Spike] = []
    last = -TOGETHER - 1
    for step, value in zip(losses.steps, losses.values, strict=True):
        if not math.isfinite(value) or value <= 0:
            continue
        height = math.log(value)
        if len(ordered) >= FEWEST:
            middle = ordered[len(ordered) // 2]
            scale = max((ordered[len(ordered) * 3 // 4] - middle) / 0.6745, LEAST_SCALE)
            if height > middle + OUTSIDE * scale:
                spike = Spike(step, value, math.exp(middle))
                if step - last > TOGETHER:
                    found.append(spike)
                elif value > found[-1].value:
                    found[-1] = spike
                last = step
        window.append(height)
        insort(ordered, height)
        if len(window) > BAND:
            del ordered[bisect_left(ordered, window.popleft())]
    return tuple(found)


def convergence_words(verdict: Verdict, *, goes_on: bool) -> list[str]:
    """Return the verdict in sentences; `goes_on` where the run has not ended."""
    said = (
        []
        if verdict.broken is None
        else [f"The loss was not a number at step {verdict.broken:,}. {AFTER_BROKEN}"]
    )
    said.append(_ending(verdict, goes_on=goes_on))
    if verdict.best is not None and verdict.good is not None:
        said.append(_best(verdict.best, verdict.good, verdict.nearest))
    if verdict.spikes:
        said.append(spike_words(verdict.spikes))
    return [*said, WEAK]


def _ending(verdict: Verdict, *, goes_on: bool) -> str:
    if verdict.how == "short":
        have = (
            "no whole epoch" if not verdict.epochs else f"{verdict.epochs} epoch{'s' * (verdict.epochs > 1)}"
        )
        return f"Too short to say: {have} so far, and a trend needs {MIN_EPOCHS}."
    if verdict.how == "level":
        return f"Flat since about epoch {verdict.since:.0f}: no change since stands out from the scatter."
    if verdict.how == "fell":
        return (
            f"It fell until about epoch {verdict.since:.0f}; too few epochs follow to say whether it goes on."
        )
    if verdict.how == "rose":
        return f"It rose until about epoch {verdict.since:.0f}: look at samples of earlier checkpoints first."
    if verdict.how == "falling":
        return "Still falling." if goes_on else "It was still falling at the end: more epochs may bring more."
    if verdict.how == "rising":
        return "Rising towards the end: look at samples of earlier checkpoints first."
    return "No trend stands out from the scatter between epochs."


def _best(best: Point, good: tuple[float, float], nearest: Saved | None) -> str:
    said = f"The smoothed loss was lowest at epoch {best[0]:.0f} ({best[1]:.3g})"
    if good[1] > good[0]:
        said += f"; epochs {good[0]:.0f} to {good[1]:.0f} are as low within the scatter"
    return said + (f". The nearest checkpoint: {nearest.label}." if nearest else ".")


def spike_words(found: Sequence[Spike]) -> str:
    """Return the spikes in one sentence; there is at least one."""
    highest = sorted(found, key=lambda one: one.value / one.usual, reverse=True)[:MOST_NAMED]
    named = ", ".join(
        f"step {one.step:,} ({one.value:.2g}, usual {one.usual:.2g})"
        for one in sorted(highest, key=lambda one: one.step)
    )
    if len(found) == 1:
        return f"One spike: {named}."
    return f"{len(found):,} spikes" + (
        f", the highest at {named}." if len(found) > MOST_NAMED else f": {named}."
    )
