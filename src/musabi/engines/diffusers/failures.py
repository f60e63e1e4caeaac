"""Why a child process of this engine failed, from the end of its output: pure."""

import signal

from musabi.engines.diffusers.process import ERROR
from musabi.errors import ExitCode
from musabi.job import events
from musabi.job.engine import Failure
from musabi.job.plan import Step

PLAIN = {ExitCode.WRONG_REQUEST, ExitCode.MACHINE_CANNOT, ExitCode.TRAINER_FAILED}


def explain(step: Step, exit_code: int, tail: str) -> Failure:
    """Return the child's own words where it had any, else what its exit code says."""
    code = ExitCode(exit_code) if exit_code in PLAIN else ExitCode.TRAINER_FAILED
    for line in reversed(tail.splitlines()):
        event = events.parse(line.strip())
        if event is not None and event.kind == ERROR and event.message:
            return Failure(event.message, code)
    if exit_code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return Failure(
            f"{step.title}: the process was killed, most likely because the memory ran out. Lower the resolution "
            "or the batch_size in the dataset TOML, then go on with --resume.",
            ExitCode.MACHINE_CANNOT,
        )
    said = [line.strip() for line in tail.splitlines() if line.strip() and not line.startswith("{")]
    last = f" Its last words: {said[-1]}" if said else ""
    return Failure(f"{step.title}: the process ended with {exit_code}.{last}", code)
