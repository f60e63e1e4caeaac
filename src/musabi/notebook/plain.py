"""Errors in cells: the message for a person, without a traceback; the cells after it do not run."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from musabi.errors import MusabiError
from musabi.job.os_errors import plain_os_error

P = ParamSpec("P")
R = TypeVar("R")

# What a message of the command line asks for, and how a cell does it.
IN_A_CELL = (
    (
        "--overwrite",
        'Here: choose another OUTPUT_NAME above, or run musabi.train("prodigy", overwrite=True).',
    ),
    ("--allow-missing-captions", "Here: add allow_missing_captions=True to check, prepare and train."),
    ("--force", "Here: musabi.stop_run(), or musabi.stop_pod(confirm=True, force=True)."),
    ("--fix", "Here: run musabi.check(fix=True)."),
    ("bootstrap", "A terminal: File, New, Terminal."),
)


class CellError(Exception):
    """Ends a cell with a message. IPython shows what `_render_traceback_` returns in place of a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


def cell(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function for use in a cell: what goes wrong is said plainly, and ends the cell."""

    @wraps(function)
    def plain(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return function(*arguments, **named)
        except MusabiError as problem:
            message = str(problem)
        except KeyboardInterrupt:
            message = "Interrupted."
        except OSError as problem:
            message = plain_os_error(problem)
        raise CellError(in_a_cell(message)) from None

    return plain


def in_a_cell(message: str) -> str:
    """Return the message with what it asks for in a cell's words."""
    hint = next((hint for sign, hint in IN_A_CELL if sign in message), None)
    return f"{message}\n{hint}" if hint else message
