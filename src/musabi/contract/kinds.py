"""The kinds of values that an argument takes: what to call them, and which texts are of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from musabi.contract.surface import Option


@dataclass(frozen=True)
class Kind:
    """A kind of value: what one and several are called, and how a text becomes one (ValueError if it is none)."""

    one: str
    several: str
    read: Callable[[str], Any]


def _steps_or_share(text: str) -> float:
    """Read a number of steps or a share of all of them, as the trainer does for its schedules."""
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


TEXT = Kind("a value", "values", str)
KINDS: Mapping[str, Kind] = {
    "int": Kind("a whole number", "whole numbers", int),
    "float": Kind("a number", "numbers", float),
    "str": TEXT,
    "Path": Kind("a path", "paths", PurePath),
    "int_or_float": Kind("a number or a percentage", "numbers or percentages", _steps_or_share),
}
"""By the name of the type. What the trainer turns into something by a function of its own is not judged."""

THOUSANDTHS = frozenset({"--timestep_boundary", "--min_timestep", "--max_timestep"})
"""Whole numbers out of 1000 that its documents also write as a share of 1."""


def kind_of(option: Option) -> Kind:
    """Return the kind of the argument's values."""
    return TEXT if "type" in option.unread else KINDS.get(option.type, TEXT)


def mended(option: Option, text: str) -> str | None:
    """Return the value that was probably meant by one of another kind, or None."""
    if option.type != "int":
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    if option.flag in THOUSANDTHS and 0 < number < 1:
        number = round(number * 1000, 6)
    return str(int(number)) if number.is_integer() else None
