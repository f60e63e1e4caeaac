"""An argument parser as the source builds it: what each add_argument says, without argparse."""

import re
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from musabi.contract.surface import Option, Script
from musabi.contract.values import External, Function, Member, is_known

LONGEST_TEXT = 60
"""Characters of a default that is kept as it is. A longer one is prose: only its fingerprint is kept."""

_ON, _OFF, _OTHER = (
    ("store_true", "count"),
    ("store_false",),
    ("store_const", "append_const", "help", "version"),
)
_ACTIONS = {f"argparse._{name}Action": action for name, action in {
    "StoreTrue": "store_true", "StoreFalse": "store_false", "StoreConst": "store_const", "Append": "append",
    "Count": "count", "Help": "help", "Version": "version", "Store": "store", "Extend": "extend",
}.items()}  # fmt: skip
_DEPRECATED = re.compile(r"deprecat|obsolete|非推奨|recommend [^.]* instead", re.IGNORECASE)
_INSTEAD = re.compile(
    r"(?:use|recommend)\s+[`'\"]?(--[\w-]+(?: [\w.-]+)??)[`'\"]?(?=\s+instead)", re.IGNORECASE
)
_PLAIN = (str, int, float, bool)


@dataclass(eq=False)
class Parser:
    """An ArgumentParser in the making. Groups of arguments are the parser itself.

    `whole` is false once something was added that can't be read.
    """

    abbreviations: bool = True
    whole: bool = True
    options: list[Option] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)

    def add_argument(self, args: list[Any], named: dict[str, Any], defined_in: str) -> None:
        """Add an argument as argparse would, with what is known of its description."""
        if not args and isinstance(named.get("dest"), str):
            args = [named["dest"]]
        if not args or not all(isinstance(arg, str) for arg in args):
            self.whole = False
            return
        option = _option(tuple(args), named, defined_in, self.defaults)
        self.options = [known for known in self.options if not set(known.flags) & set(option.flags)]
        self.options.append(option)

    def set_defaults(self, named: dict[str, Any]) -> None:
        """Give arguments another default, those that are there and those to come."""
        self.defaults |= named
        self.options = [
            _with_default(option, named[option.dest]) if option.dest in named else option
            for option in self.options
        ]

    def take(self, parent: "Parser") -> None:
        """Take over the arguments of a parent."""
        self.options += parent.options
        self.defaults |= parent.defaults
        self.whole &= parent.whole

    def script(self, file: str) -> Script:
        """Return what was built, as the script of a file."""
        options = {flag: option for option in self.options for flag in option.flags}
        return Script(file, options, self.whole, self.abbreviations)


def _option(flags: tuple[str, ...], named: dict[str, Any], place: str, defaults: dict[str, Any]) -> Option:
    action, unread = _action(named.get("action", "store"))
    positional = not flags[0].startswith("-")
    dest = named["dest"] if isinstance(named.get("dest"), str) else _dest(flags)
    nargs = _nargs(named.get("nargs"), unread)
    switch = action in (*_ON, *_OFF, *_OTHER, "boolean") or nargs == 0
    help_text = named["help"] if isinstance(named.get("help"), str) else ""
    usual = {"store_true": False, "store_false": True}.get(action)
    told = _DEPRECATED.search(help_text)
    instead = _INSTEAD.search(help_text) if told else None
    option = Option(
        flags=(
            *flags,
            *(f"--no-{flag[2:]}" for flag in flags if action == "boolean" and flag.startswith("--")),
        ),
        dest=dest,
        type=_type(named.get("type", External("str")), unread),
        nargs=None if switch else nargs,
        choices=None if named.get("choices") is None else _choices(named["choices"], unread),
        required=named.get("required", False) is True or (positional and nargs not in ("?", "*")),
        switch=switch,
        repeats=action in ("append", "extend", "append_const", "count"),
        deprecated=bool(told) or named.get("deprecated") is True,
        instead=instead[1] if instead else "",
        defined_in=place,
        unread=tuple(unread),
    )
    return _with_default(option, named.get("default", defaults.get(dest, usual)))


def _action(value: Any) -> tuple[str, list[str]]:  # noqa: ANN401 - any value of a source
    if isinstance(value, str):
        return value, []
    if isinstance(value, External):
        if value.name.endswith("BooleanOptionalAction"):
            return "boolean", []
        if value.name in _ACTIONS:
            return _ACTIONS[value.name], []
    return "store", ["nargs", "type"]


def _dest(flags: tuple[str, ...]) -> str:
    first = next((flag for flag in flags if flag.startswith("--")), flags[0])
    return first.lstrip("-").replace("-", "_") if first.startswith("-") else first


def _nargs(value: Any, unread: list[str]) -> int | str | None:  # noqa: ANN401
    if value is None or isinstance(value, int | str):
        return value
    names = {"argparse.REMAINDER": "...", "argparse.ZERO_OR_MORE": "*", "argparse.ONE_OR_MORE": "+"}
    names["argparse.OPTIONAL"] = "?"
    if isinstance(value, External) and value.name in names:
        return names[value.name]
    unread.append("nargs")
    return "*"


def _type(value: Any, unread: list[str]) -> str:  # noqa: ANN401
    if value is None:
        return "str"
    if isinstance(value, External):
        return value.name.rpartition(".")[2]
    if isinstance(value, Function):
        return value.name
    unread.append("type")
    return "str"


def _choices(value: Any, unread: list[str]) -> tuple[Any, ...] | None:  # noqa: ANN401
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if not isinstance(value, str | list | tuple | dict | range):
        unread.append("choices")
        return None
    found = tuple(entry.value if isinstance(entry, Member) else entry for entry in value)
    if not all(entry is None or isinstance(entry, _PLAIN) for entry in found):
        unread.append("choices")
        return None
    return found


def _with_default(option: Option, value: Any) -> Option:  # noqa: ANN401
    unread = tuple(name for name in option.unread if name != "default")
    told = shown_default(value)
    if told is None and value is not None:
        return replace(option, default=None, unread=(*unread, "default"))
    return replace(option, default=told, unread=unread)


def shown_default(value: Any) -> Any:  # noqa: ANN401
    """Return a default as JSON holds it, a long text as its fingerprint, or None where it is not known."""
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return f"({len(value)} characters, sha256 {sha256(value.encode()).hexdigest()[:12]})"
    if isinstance(value, Member):
        return shown_default(value.value)
    if isinstance(value, list | tuple) and is_known(value):
        return [shown_default(entry) for entry in value]
    if isinstance(value, External):
        return "==SUPPRESS==" if value.name == "argparse.SUPPRESS" else None
    return value if isinstance(value, _PLAIN) else None
