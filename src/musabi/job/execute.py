"""Carrying out a single step in the foreground: for verbs that take seconds."""

import os
from collections.abc import Callable

from musabi.errors import ExitCode, MachineError, MusabiError, RequestError, TrainerError
from musabi.job.child import Child
from musabi.job.engine import Engine, Failure
from musabi.job.events import Event
from musabi.job.harvest import place_pictures
from musabi.job.plan import Step
from musabi.job.runner import READ_SECONDS, TAIL_CHARACTERS
from musabi.job.step_files import prepare_files

_ERRORS: dict[ExitCode, type[MusabiError]] = {
    ExitCode.WRONG_REQUEST: RequestError,
    ExitCode.MACHINE_CANNOT: MachineError,
}


def execute(step: Step, engine: Engine, on_event: Callable[[Event], None]) -> None:
    """Run one step to its end and put its output in place.

    Raises:
        RequestError, MachineError, TrainerError: it failed; the engine's own words.
    """
    prepare_files(step)
    parser = engine.parser(step)
    child = Child(step.argv, os.environ | step.env, step.cwd)
    tail = ""
    try:
        while (code := child.poll()) is None:
            text = child.read(READ_SECONDS)
            tail = (tail + text)[-TAIL_CHARACTERS:]
            for event in parser.feed(text):
                on_event(event)
        if code != 0:
            raise _error(engine.explain(step, code, tail))
        if step.output is not None:
            step.output[0].replace(step.output[1])
    finally:
        child.close()
        for picture in place_pictures(step):
            on_event(Event(phase=step.name, kind=picture.kind, file=str(picture.path)))
        if step.output is not None:
            step.output[0].unlink(missing_ok=True)


def _error(failure: Failure) -> MusabiError:
    return _ERRORS.get(failure.exit_code, TrainerError)(failure.message)
