"""Splits a command line into arguments with their values, as argparse would."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from musabi.contract.surface import Option, Script

_NEGATIVE = re.compile(r"-\d+|-\d*\.\d+")


@dataclass
class Use:
    """One use of an argument: as it was written, what it may be, and the values that stand with it.

    `options` holds one argument, none where the flag is unknown, more where an abbreviation fits several.
    `spare` are values that stand behind it and that it does not take. `next` is a flag that follows at once.
    """

    written: str
    options: tuple[Option, ...]
    values: list[str] = field(default_factory=list)
    spare: list[str] = field(default_factory=list)
    inline: bool = False
    next: str = ""

    @property
    def option(self) -> Option | None:
        """The argument, where it is certain."""
        return self.options[0] if len(self.options) == 1 else None


def bounds(option: Option) -> tuple[int, int | None]:
    """Return how many values the argument takes at least and at most; None is no limit."""
    if option.switch:
        return 0, 0
    if isinstance(option.nargs, int):
        return option.nargs, option.nargs
    return {"?": (0, 1), "*": (0, None), "+": (1, None), "...": (0, None)}.get(option.nargs or "", (1, 1))


def split(script: Script, argv: Sequence[str]) -> tuple[list[str], list[Use]]:
    """Return the values before and between flags that belong to none, and the uses in their order.

    Values that too many stand behind a flag are its `spare`; they may be positional arguments.
    """
    loose: list[str] = []
    uses: list[Use] = []
    for place, arg in enumerate(argv):
        if arg == "--":
            loose += argv[place + 1 :]
            break
        use = _flag(script, arg)
        if use is not None:
            if uses and not uses[-1].values:
                uses[-1].next = arg
            uses.append(use)
        elif not uses:
            loose.append(arg)
        else:
            _give(uses[-1], arg)
    return loose, uses


def _give(use: Use, value: str) -> None:
    most = bounds(use.option)[1] if use.option is not None else None
    full = use.inline or (most is not None and len(use.values) >= most)
    (use.spare if full else use.values).append(value)


def _flag(script: Script, arg: str) -> Use | None:
    """Return the use that the argument begins, or None where it is a value (argparse's _parse_optional)."""
    if not arg.startswith("-") or arg == "-":
        return None
    if arg in script.options:
        return Use(arg, (script.options[arg],))
    head, equals, value = arg.partition("=")
    values = [value] if equals else []
    if head in script.options:
        return Use(head, (script.options[head],), values, inline=bool(equals))
    if arg.startswith("--"):
        fitting = [flag for flag in script.options if script.abbreviations and flag.startswith(head)]
        if fitting and head != "--":
            several = {id(script.options[flag]): script.options[flag] for flag in fitting}
            return Use(head, tuple(several.values()), values, inline=bool(equals))
    elif arg[:2] in script.options:
        return Use(arg[:2], (script.options[arg[:2]],), [arg[2:]], inline=True)
    if _NEGATIVE.fullmatch(arg) or " " in arg:
        return None
    return Use(head, (), values, inline=bool(equals))
