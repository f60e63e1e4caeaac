"""What every child process of this engine shares: its arguments, its events, its plain endings."""

import argparse
import errno
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from musabi.errors import ExitCode, MachineError, MusabiError, RequestError, TrainerError
from musabi.job.events import Event
from musabi.job.plan import StepName

ERROR = "error"
"""The event kind whose message says why a step failed; its `step` field is unused."""


class Arguments(argparse.ArgumentParser):
    """Refuses unknown arguments in a sentence, with the nearest known one, and knows no abbreviations."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(
            f"python -m musabi.engines.diffusers.{module}", description=description, allow_abbrev=False
        )

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Return the arguments.

        Raises:
            RequestError: one is unknown, missing or has a value that can't be read.
        """
        known, unknown = self.parse_known_args(argv)
        if unknown:
            name = unknown[0].split("=")[0]
            near = get_close_matches(name, self.flags(), n=1)
            hint = f" Did you mean {near[0]}?" if near else " The musubi engine may know it."
            raise RequestError(f"The diffusers engine knows no argument {name}.{hint}")
        return known

    def flags(self) -> list[str]:
        """Return the known flags."""
        return [flag for flag in self._option_string_actions if flag.startswith("--")]

    def error(self, message: str) -> NoReturn:
        """Take argparse's own message as a refusal."""
        raise RequestError(f"The arguments are wrong: {message}.")


def emit(event: Event) -> None:
    """Print one event as a JSON line, at once."""
    print(event.to_json(), flush=True)


def run(phase: StepName, main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run `main` with the command line and end the process with its exit code.

    What went wrong is told in one event of kind `error`; a traceback goes to stderr only where the cause
    is unknown.
    """
    try:
        code = main(sys.argv[1:])
    except Exception as problem:
        failure = plain(problem)
        if failure is None:
            traceback.print_exc()
            failure = TrainerError(f"{type(problem).__name__}: {problem}")
        emit(Event(phase=phase, kind=ERROR, message=str(failure)))
        code = int(failure.exit_code)
    sys.stdout.flush()
    raise SystemExit(code)


def plain(problem: BaseException) -> MusabiError | None:
    """Return a problem as a plain message with its exit code, or None where the cause is unknown."""
    if isinstance(problem, MusabiError):
        return problem
    for cause in _chain(problem):
        text = str(cause)
        if getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in text:
            return MachineError(
                "The disk is full, so a file could not be written. Make room, then go on with --resume."
            )
        if type(cause).__name__ == "OutOfMemoryError" or isinstance(cause, MemoryError):
            return MachineError(
                "The memory ran out. Lower the resolution or the batch_size in the dataset TOML, or use the "
                "musubi engine, which can swap blocks (BLOCKS_TO_SWAP)."
            )
        if isinstance(cause, OSError) and cause.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            return MachineError(
                f"{cause.filename} can't be written: {cause.strerror}. Choose another folder."
            )
    return None


def _chain(problem: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while problem is not None and problem not in found:
        found.append(problem)
        problem = problem.__cause__ or problem.__context__
    return found


class StopFlag:
    """Remembers that SIGTERM or SIGINT came; the work looks at it where it can end cleanly."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def listen(self) -> None:
        """Take both signals from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: Any) -> None:  # noqa: ANN401
        self.signal = number

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells say it."""
        return ExitCode.INTERRUPTED if self.signal == signal.SIGINT else ExitCode.TERMINATED


class Progress:
    """Emits events of a step that has `total` parts, with the time that is left."""

    def __init__(self, phase: StepName, total: int) -> None:
        self._phase = phase
        self._total = total
        self._done = 0
        self._started = time.monotonic()

    def advance(self, count: int = 1, **more: Any) -> None:  # noqa: ANN401 - fields of Event
        """Count parts as done and say so."""
        self._done += count
        pace = (time.monotonic() - self._started) / self._done
        emit(
            Event(
                phase=self._phase,
                step=self._done,
                steps=self._total,
                s_per_step=round(pace, 4),
                eta_s=round(pace * (self._total - self._done), 1),
                **more,
            )
        )
