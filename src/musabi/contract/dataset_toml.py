"""Checks the keys of a dataset TOML against the trainer's schema."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from musabi.contract.fault import Fault
from musabi.contract.nearest import nearest
from musabi.contract.surface import DatasetKey, Place, Surface

TABLES = ("general", "datasets")
VIDEO_KEYS = ("video_directory", "video_jsonl_file")
"""A dataset with one of these is one of videos; else it is one of images (as the trainer decides)."""
_PLACES: Mapping[Place, str] = {
    "general": "[general]",
    "image": "a dataset of images",
    "video": "a dataset of videos",
}


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wholes(value: object) -> bool:
    return isinstance(value, list) and all(map(_whole, value))


@dataclass(frozen=True)
class _Kind:
    words: str
    holds: Callable[[object], bool]


_KINDS: Mapping[str, _Kind] = {
    "str": _Kind('a text in quotes, such as "text"', lambda value: isinstance(value, str)),
    "int": _Kind("a whole number", _whole),
    "float": _Kind("a number with a decimal point, such as 30.0", lambda value: isinstance(value, float)),
    "bool": _Kind("true or false", lambda value: isinstance(value, bool)),
    "[int]": _Kind("a list of whole numbers, such as [1, 25]", _wholes),
    "size": _Kind(
        "a whole number or [width, height]",
        lambda value: _whole(value) or (isinstance(value, list) and len(value) == 2 and _wholes(value)),
    ),
}


def dataset_faults(surface: Surface, tables: Mapping[str, Any]) -> tuple[Fault, ...]:
    """Return what the trainer's schema refuses of a parsed dataset TOML: unknown keys, wrong places, wrong types.

    A surface without a schema refuses nothing.
    """
    return tuple(_faults(surface.dataset, tables)) if surface.dataset else ()


def _faults(keys: Mapping[str, DatasetKey], tables: Mapping[str, Any]) -> Iterator[Fault]:
    for name in tables:
        if name in keys:
            where = "[general]" if "general" in keys[name].places else "[[datasets]]"
            yield Fault(name, "place", f"{name} stands above the first table. Put it under {where}.")
        elif name not in TABLES:
            near = nearest(name, TABLES)
            yield Fault(name, "unknown", f"There is no table [{name}]. " + _meant(near, "Leave it out."))
    general, datasets = tables.get("general", {}), tables.get("datasets", [])
    if isinstance(general, Mapping):
        yield from _table(keys, "[general]", "general", general)
    else:
        yield Fault("general", "type", "general must be a table. Write [general], with its keys below it.")
    if not isinstance(datasets, list) or not all(isinstance(table, Mapping) for table in datasets):
        yield Fault("datasets", "type", "datasets must be a list of tables. Write [[datasets]].")
        return
    for number, table in enumerate(datasets, start=1):
        place: Place = "video" if any(key in table for key in VIDEO_KEYS) else "image"
        yield from _table(keys, f"[[datasets]] number {number}", place, table)


def _table(
    keys: Mapping[str, DatasetKey], where: str, place: Place, table: Mapping[str, Any]
) -> Iterator[Fault]:
    for name, value in table.items():
        key = keys.get(name)
        if key is None:
            here = [other for other in keys if place in keys[other].places]
            near = nearest(name, here) or nearest(name, keys)
            message = f"{where}: there is no key {name}. " + _meant(near, "Leave it out.")
            yield Fault(name, "unknown", message)
        elif place not in key.places:
            yield Fault(name, "place", f"{where}: {name} belongs {_belongs(key)}, not here.")
        elif (kind := _KINDS.get(key.type)) is not None and not kind.holds(value):
            yield Fault(name, "type", f"{where}: {name} must be {kind.words}, not {_shown(value)}.")
        elif key.instead:
            yield Fault(name, "deprecated", f"{where}: {name} is deprecated. Write {key.instead} instead.")


def _meant(near: str | None, otherwise: str) -> str:
    return f"Did you mean {near}?" if near else otherwise


def _belongs(key: DatasetKey) -> str:
    return "in " + " or ".join(_PLACES[place] for place in key.places)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
