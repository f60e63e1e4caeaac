"""Steps at work, as the runner holds them: their children, why they are ended, which run together."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from musabi.job.child import Child
from musabi.job.engine import Failure, OutputParser
from musabi.job.plan import Step
from musabi.job.record import StepOutcome


@dataclass(frozen=True)
class StopRequest:
    """Someone wants the run to end; `after_save` waits for the next state."""

    after_save: bool = False
    signal: int = signal.SIGTERM


@dataclass(frozen=True)
class Ending:
    """Why the runner itself ends a step, and whether the trainer is given the time to save its state."""

    failure: Failure
    save: bool = False


@dataclass
class Running:
    """A step at work: its child, what reads its output, and the end of that.

    `taken_along`: it was ended because the step beside it failed.
    """

    step: Step
    child: Child
    parser: OutputParser
    tail: str = ""
    code: int | None = None
    taken_along: bool = False


def groups(steps: Sequence[Step], outcomes: Sequence[StepOutcome]) -> list[list[tuple[Step, StepOutcome]]]:
    """Return the steps in the order in which they run, those together that may run at the same time."""
    made: list[list[tuple[Step, StepOutcome]]] = []
    for step, outcome in zip(steps, outcomes, strict=True):
        if step.beside and made:
            made[-1].append((step, outcome))
        else:
            made.append([(step, outcome)])
    return made
