"""Watches a training's loss for signs that the rest of it is wasted. Pure: events in, a verdict out.

What is watched is the loss that trainers report, a moving average over about an epoch. Single steps of a
diffusion training differ by a factor of forty and more, because noise and time step are drawn anew for each;
the averages of a sound run stay within a factor of about three, over few steps about ten. So:

- not a number: one report is enough. Gradients of such a loss make every weight of the LoRA NaN.
- flat at zero: FLAT_STEPS reports below NOTHING. The loss of a model that predicts noise has a floor well
  above 0.001, so zero means that nothing is learnt from: masks, dtypes or weights are broken.
- exploding: a report above FACTOR times the lowest typical loss so far and WORSE times the loss at the start
  (a LoRA starts as the model itself, so this is worse than no LoRA at all), and so for LASTING reports of
  which RISING rise, or for a whole `span` longer. One odd step lifts an average of `span` steps for
  `span` reports, but only once: it does not go on rising, and it ends.
"""

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

from musabi.job.events import Event

NOTHING = 1e-6
FLAT_STEPS = 10
TYPICAL_OF = 50
"""Reports whose median counts as the typical loss."""
FIRST_OF = 10
"""Reports whose median is the loss at the start."""
FACTOR = 10.0
WORSE = 2.0
LASTING = 20
RISING = 16

LOWER = "a lower learning rate (LEARNING_RATE; with Prodigy PRODIGY_D_COEF)"


@dataclass(frozen=True)
class Verdict:
    """`what` says how the loss is bad; states saved at step `bad_from` and later are of no use."""

    what: str
    bad_from: int


def mend(state: str | None) -> str:
    """Say what to do about a bad loss, where `state` names the newest state from before (None: there is none)."""
    if state is None:
        return f"Start anew with {LOWER}."
    return f"Start anew with {LOWER}, or go on from {state}, saved before that: musabi train --resume"


class LossWatch:
    """Takes the events of one training in their order; says once that the loss is bad.

    `span` is the number of steps that a reported loss is the average of, at most; `start` the step that the
    training goes on from.
    """

    def __init__(self, span: int, start: int = 0) -> None:
        self._span = span
        self._step = start
        self._zeros = 0
        self._zero_since = 0
        self._newest: deque[float] = deque(maxlen=TYPICAL_OF)
        self._lowest = math.inf
        self._first = math.inf
        self._above = 0
        self._above_since = 0
        self._rises = 0
        self._last = math.inf
        self._done = False

    def take(self, event: Event) -> Verdict | None:
        """Return the verdict where this event shows that the loss is bad, and None from then on."""
        if self._done or event.phase != "train" or event.kind is not None:
            return None
        if event.step is None or event.loss is None:
            return None
        verdict = self._judge(event.step, event.loss)
        self._done = verdict is not None
        return verdict

    def _judge(self, step: int, loss: float) -> Verdict | None:
        if not math.isfinite(loss):
            return Verdict(f"The loss is no number any more at step {step}", self._step + 1)
        if step <= self._step:  # a bar that was drawn twice
            return None
        self._step = step
        self._zeros = self._zeros + 1 if abs(loss) < NOTHING else 0
        if self._zeros == 1:
            self._zero_since = step
        if self._zeros >= FLAT_STEPS:
            return Verdict(f"The loss is flat at zero since step {self._zero_since}", self._zero_since)
        if self._zeros:
            return None
        if self._explodes(loss):
            times = f"{loss / self._lowest:.0f} times what it was"
            return Verdict(f"The loss explodes: at step {step} it is {loss:.3g}, {times}", self._above_since)
        return None

    def _explodes(self, loss: float) -> bool:
        """Note a report, and tell whether the loss has been far too high for too long."""
        limit = max(FACTOR * self._lowest, WORSE * self._first)
        if loss > limit:
            if not self._above:
                self._above_since = self._step
            self._above += 1
            self._rises += loss > self._last
        else:
            self._above = self._rises = 0
            self._newest.append(loss)
            if len(self._newest) >= FIRST_OF:
                self._lowest = min(self._lowest, median(self._newest))
                if self._first == math.inf:
                    self._first = self._lowest
        self._last = loss
        return (self._above >= LASTING and self._rises >= RISING * self._above / LASTING) or (
            self._above >= LASTING + self._span
        )
