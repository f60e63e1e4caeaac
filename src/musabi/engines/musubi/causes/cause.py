"""One known way in which a step of musubi-tuner fails: a row of the table."""

from dataclasses import dataclass
from typing import Literal

from musabi.errors import ExitCode
from musabi.job.engine import FailureKind

REQUEST, MACHINE, TRAINER = ExitCode.WRONG_REQUEST, ExitCode.MACHINE_CANNOT, ExitCode.TRAINER_FAILED
Phase = Literal["cache", "adapt", "train", "convert", "sample"]


@dataclass(frozen=True)
class Cause:
    """A pattern in the output, and what it means and what to do; {0}, {1} are the pattern's groups.

    The pattern is looked for from the first traceback on, with `anywhere` in all of the output. Where `phases`
    is given, the cause counts for these steps only. `signals` are those that end a process for this cause.
    `retry`: the same step, run once more, may end well. `echo`: it often follows from what another process
    of the same training met first, so it counts only where nothing else is known.
    """

    name: str
    pattern: str
    message: str
    exit_code: ExitCode = TRAINER
    phases: tuple[Phase, ...] = ()
    kind: FailureKind = "other"
    retry: bool = False
    anywhere: bool = False
    echo: bool = False
    signals: tuple[int, ...] = ()
