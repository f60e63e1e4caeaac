"""Values of diffusion-pipe's keys: what each kind takes, and the value as it goes into TOML.

diffusion-pipe reads its files with the `toml` package, which knows less than TOML 1.0: no arrays of mixed types
([0, 0.99] must be [0.0, 0.99]), and it is not sure with backslashes. So numbers of a list are made alike, and texts
that come from a request hold letters, digits and a few signs only.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, TypeVar

Kind = Literal[
    "int",
    "float",
    "bool",
    "text",
    "bool or text",
    "float or floats",
    "ints",
    "floats",
    "names",
    "batch",
    "sizes",
    "ratios",
    "delimiter",
    "path",
    "paths",
    "encoders",
]
NAME = re.compile(r"[A-Za-z0-9_.]{1,100}")
DELIMITER = re.compile(r"[ ,;|/_-]{1,4}")
NOT_IN_A_PATH = re.compile(r"[\x00-\x1f\x7f\"'\\]")
MOST_ENTRIES = 64
T = TypeVar("T")


class WrongValueError(ValueError):
    """A value does not suit its key. The message says what is taken, without the value."""


@dataclass(frozen=True)
class Bounds:
    """What narrows a kind: the texts it takes, the least and the greatest number."""

    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


def convert(kind: Kind, value: object, bounds: Bounds) -> Any:  # noqa: ANN401 - as the kind says
    """Return the value as it goes into TOML.

    Raises:
        WrongValueError: the value is not of this kind.
    """
    return CONVERT[kind](value, bounds)


def _int(value: object, bounds: Bounds) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongValueError(_range("a whole number", bounds))
    if isinstance(value, float) and not value.is_integer():
        raise WrongValueError(_range("a whole number", bounds))
    return int(_within(value, bounds, "a whole number"))


def _float(value: object, bounds: Bounds) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongValueError(_range("a number", bounds))
    try:
        made = float(value)
    except OverflowError:
        made = math.inf
    if not math.isfinite(made):
        raise WrongValueError(_range("a finite number", bounds))
    return float(_within(made, bounds, "a number"))


def _within(value: float, bounds: Bounds, what: str) -> float:
    low = bounds.least is not None and value < bounds.least
    high = bounds.most is not None and value > bounds.most
    if low or high:
        raise WrongValueError(_range(what, bounds))
    return value


def _range(what: str, bounds: Bounds) -> str:
    if bounds.least is not None and bounds.most is not None:
        return f"{what} from {bounds.least:g} to {bounds.most:g}"
    if bounds.least is not None:
        return f"{what} of at least {bounds.least:g}"
    return what if bounds.most is None else f"{what} of at most {bounds.most:g}"


def _bool(value: object, _bounds: Bounds) -> bool:
    if not isinstance(value, bool):
        raise WrongValueError("true or false")
    return value


def _text(value: object, bounds: Bounds) -> str:
    """Return one of the known texts, written as diffusion-pipe writes it."""
    known = {choice.casefold(): choice for choice in bounds.choices}
    if not isinstance(value, str) or value.casefold() not in known:
        raise WrongValueError(f"one of {', '.join(bounds.choices)}")
    return known[value.casefold()]


def _bool_or_text(value: object, bounds: Bounds) -> bool | str:
    if isinstance(value, bool):
        return value
    try:
        return _text(value, bounds)
    except WrongValueError:
        raise WrongValueError(f"true, false or {', '.join(bounds.choices)}") from None


def _entries(value: object, each: Callable[[object, Bounds], T], bounds: Bounds) -> list[T]:
    """Return a list whose entries are all of one type; a value alone is a list of one."""
    entries = value if isinstance(value, list | tuple) else [value]
    if not 1 <= len(entries) <= MOST_ENTRIES:
        raise WrongValueError(f"a list of 1 to {MOST_ENTRIES} entries")
    return [each(entry, bounds) for entry in entries]


def _floats_or_one(value: object, bounds: Bounds) -> float | list[float]:
    return _entries(value, _float, bounds) if isinstance(value, list | tuple) else _float(value, bounds)


def _pair(value: object, each: Callable[[object, Bounds], T], bounds: Bounds) -> list[T]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise WrongValueError("pairs of two numbers")
    return [each(entry, bounds) for entry in value]


def _pairs_or(value: object, each: Callable[[object, Bounds], T], bounds: Bounds) -> list[T] | list[list[T]]:
    """Return a list of numbers, or one of pairs (width, height): TOML's reader knows no list of both."""
    if isinstance(value, list | tuple) and any(isinstance(entry, list | tuple) for entry in value):
        return _entries(value, lambda entry, _: _pair(entry, each, bounds), bounds)
    return _entries(value, each, bounds)


def _batch(value: object, bounds: Bounds) -> int | list[list[int]]:
    """Return a batch size, or one for each resolution: [[512, 4], [1024, 1]]."""
    if isinstance(value, list | tuple):
        return _entries(value, lambda entry, _: _pair(entry, _int, bounds), bounds)
    return _int(value, bounds)


def _name(value: object, _bounds: Bounds) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise WrongValueError("names of letters, digits, _ and dots")
    return value


def _delimiter(value: object, _bounds: Bounds) -> str:
    if not isinstance(value, str) or not DELIMITER.fullmatch(value):
        raise WrongValueError("1 to 4 of the signs , ; | / _ - and the space")
    return value


def _path(value: object, _bounds: Bounds) -> str:
    text = str(value)
    if not PurePosixPath(text).is_absolute() or NOT_IN_A_PATH.search(text):
        raise WrongValueError("a whole path without quotes and backslashes")
    return text


def _encoders(value: object, bounds: Bounds) -> list[dict[str, Any]]:
    """Return text encoders as [{path, type}]; `type` is ComfyUI's name of the family, such as lumina2."""
    made = []
    for entry in value if isinstance(value, list | tuple) else ():
        if not isinstance(entry, dict) or set(entry) != {"path", "type"}:
            raise WrongValueError("a list of path and type")
        made.append({"path": _path(entry["path"], bounds), "type": _name(entry["type"], bounds)})
    if not made:
        raise WrongValueError("a list of path and type")
    return made


CONVERT: dict[Kind, Callable[[object, Bounds], Any]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "text": _text,
    "bool or text": _bool_or_text,
    "float or floats": _floats_or_one,
    "ints": lambda value, bounds: _entries(value, _int, bounds),
    "floats": lambda value, bounds: _entries(value, _float, bounds),
    "names": lambda value, bounds: _entries(value, _name, bounds),
    "batch": _batch,
    "sizes": lambda value, bounds: _pairs_or(value, _int, bounds),
    "ratios": lambda value, bounds: _pairs_or(value, _float, bounds),
    "delimiter": _delimiter,
    "path": _path,
    "paths": lambda value, bounds: _entries(value, _path, bounds),
    "encoders": _encoders,
}
