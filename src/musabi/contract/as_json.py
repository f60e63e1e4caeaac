"""A surface as JSON: one argument a line, and what scripts share written once."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from musabi.contract.surface import DatasetKey, Option, Script, Surface

_USUAL = {field.name: field.default for field in fields(Option)}
_KEPT = tuple(name for name in _USUAL if name not in ("flags", "defined_in"))


def to_json(surface: Surface) -> str:
    """Return the surface as JSON text.

    Arguments stand in groups named by the `file:function` that adds them. A script names its groups, `own`
    holds what it has otherwise than they, and `without` what it has not of them.
    """
    groups: dict[str, dict[str, Option]] = {}
    for script in surface.scripts.values():
        for option in script.each():
            groups.setdefault(option.defined_in, {}).setdefault(_key(option), option)
    head = {name: getattr(surface, name) for name in ("version", "commit", "fingerprint")}
    parts = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    parts.append('"sources": ' + _lines("[]", (json.dumps(file) for file in surface.sources)))
    parts.append('"groups": ' + _lines("{}", (_entry(name, _group(group)) for name, group in groups.items())))
    scripts = (_entry(file, _dumps(_script(script, groups))) for file, script in surface.scripts.items())
    parts.append('"scripts": ' + _lines("{}", scripts))
    keys = (_entry(name, _dumps(_dataset_key(key))) for name, key in surface.dataset.items())
    parts.append('"dataset": ' + _lines("{}", keys))
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _lines(brackets: str, lines: Iterable[str]) -> str:
    return brackets[0] + "\n" + ",\n".join(lines) + "\n" + brackets[1]


def _entry(name: str, text: str) -> str:
    return f"{json.dumps(name, ensure_ascii=False)}: {text}"


def _dumps(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return json.dumps(value, ensure_ascii=False)


def _key(option: Option) -> str:
    return " ".join(option.flags)


def _group(options: Mapping[str, Option]) -> str:
    return _lines("{}", (_entry(key, _dumps(_option(option))) for key, option in options.items()))


def _option(option: Option) -> dict[str, Any]:
    """Return what is not as usual: an argument of text without a default is {}."""
    usual = _USUAL | {"dest": _dest(option.flags), "default": False if option.switch else None}
    return {name: getattr(option, name) for name in _KEPT if getattr(option, name) != usual[name]}


def _dest(flags: tuple[str, ...]) -> str:
    """Return argparse's own choice of a destination."""
    first = next((flag for flag in flags if flag.startswith("--")), flags[0])
    return first.lstrip("-").replace("-", "_") if first.startswith("-") else first


def _script(script: Script, groups: Mapping[str, Mapping[str, Option]]) -> dict[str, Any]:
    mine = {_key(option): option for option in script.each()}
    names = list(dict.fromkeys(option.defined_in for option in mine.values()))
    shared = {key: option for name in names for key, option in groups[name].items()}
    own = {
        key: {"in": option.defined_in} | _option(option)
        for key, option in mine.items()
        if shared[key] != option
    }
    values = {
        "groups": names,
        "own": own,
        "without": [key for key in shared if key not in mine],
        "whole": script.whole,
        "abbreviations": script.abbreviations,
    }
    usual = {"own": {}, "without": [], "whole": True, "abbreviations": True}
    return {name: value for name, value in values.items() if name not in usual or value != usual[name]}


def _dataset_key(key: DatasetKey) -> dict[str, Any]:
    values = {"type": key.type, "places": key.places}
    return values | ({"instead": key.instead} if key.instead else {})


def from_values(values: Mapping[str, Any]) -> Surface:
    """Return the surface of a parsed JSON document. Scripts are built when they are asked for.

    Raises:
        KeyError, TypeError, ValueError: the document is not one of `to_json`.
    """
    return Surface(
        version=values["version"],
        commit=values["commit"],
        fingerprint=values["fingerprint"],
        sources=tuple(values["sources"]),
        scripts=_Scripts(values["scripts"], values["groups"]),
        dataset={
            name: DatasetKey(name, key["type"], tuple(key["places"]), key.get("instead", ""))
            for name, key in values["dataset"].items()
        },
    )


class _Scripts(Mapping[str, Script]):
    """The scripts of a document: a plan asks for four of sixty."""

    def __init__(self, scripts: Mapping[str, Any], groups: Mapping[str, Any]) -> None:
        self._scripts = scripts
        self._groups = groups
        self._built: dict[str, Script] = {}

    def __getitem__(self, file: str) -> Script:
        if file not in self._built:
            self._built[file] = self._build(file, self._scripts[file])
        return self._built[file]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scripts)

    def __len__(self) -> int:
        return len(self._scripts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]

    def _build(self, file: str, script: Mapping[str, Any]) -> Script:
        own, without = script.get("own", {}), script.get("without", ())
        options: dict[str, Option] = {}
        for group in script["groups"]:
            for key, values in self._groups[group].items():
                if key in without or (key in own and own[key]["in"] != group):
                    continue
                mine = {name: value for name, value in own.get(key, values).items() if name != "in"}
                option = _built(key, mine, group)
                options.update(dict.fromkeys(option.flags, option))
        return Script(file, options, script.get("whole", True), script.get("abbreviations", True))


def _built(key: str, values: Mapping[str, Any], group: str) -> Option:
    flags = tuple(key.split(" "))
    given: dict[str, Any] = {
        name: tuple(value) if name in ("choices", "unread") else value for name, value in values.items()
    }
    if "default" not in given and given.get("switch"):
        given["default"] = False
    return Option(flags, given.pop("dest", None) or _dest(flags), **given, defined_in=group)
