"""The command line's verbs, started by a cell: the very ones that a terminal has, their answers as JSON."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from musabi.children import start
from musabi.errors import ExitCode, MachineError, MusabiError, RequestError, TrainerError
from musabi.job.record import RunFolder, runs
from musabi.notebook.chosen import environment, settings

POLL_SECONDS = 0.2
ERRORS: dict[int, type[MusabiError]] = {
    ExitCode.WRONG_REQUEST: RequestError,
    ExitCode.MACHINE_CANNOT: MachineError,
    ExitCode.TRAINER_FAILED: TrainerError,
}


def ask(*words: str) -> Any:  # noqa: ANN401 - any JSON value
    """Run `musabi WORDS --json` to its end and return its answer; Kernel, Interrupt ends it.

    Raises:
        RequestError, MachineError, TrainerError: as the verb says.
    """
    return _answer(words, lambda: False)


def begin(*words: str) -> RunFolder | None:
    """Start a verb that starts a run, and return that run; None where nothing was left to do.

    The run has a session of its own and outlives the verb, this cell and the kernel.

    Raises:
        RequestError, MachineError, TrainerError: the run was not started.
    """
    folder = settings().space.runs
    before = {run.path.name for run in runs(folder)}

    def started() -> RunFolder | None:
        new = [run for run in runs(folder) if run.path.name not in before]
        return new[-1] if new and new[-1].load().pid is not None else None

    _answer(words, lambda: started() is not None)
    return started()


def _answer(words: tuple[str, ...], enough: Callable[[], bool]) -> Any:  # noqa: ANN401 - any JSON value
    """Run a verb to its end, or until `enough`; return its answer, None where it was not waited for."""
    argv = [sys.executable, "-P", "-m", "musabi", *words, "--json"]
    process = start(argv, environment(), settings().workspace, subprocess.PIPE)
    try:
        while True:
            try:
                out, err = process.communicate(timeout=POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if enough():
                    return None
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    answer = _parsed(out)
    if process.returncode != 0 and not enough():
        said = answer.get("error") if isinstance(answer, dict) else None
        plain = err.decode(errors="replace").strip().removeprefix("Error: ")
        kind = ERRORS.get(process.returncode, MachineError)
        raise kind(said or plain or f"musabi {words[0]} ended with exit code {process.returncode}.")
    return answer


def _parsed(out: bytes) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(out)
    except ValueError:
        return None
