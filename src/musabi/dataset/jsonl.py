"""Reads the JSONL file of a dataset: one object a line with `image_path` or `video_path` and `caption`."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musabi.dataset.config import ImageDataset
from musabi.errors import RequestError


@dataclass(frozen=True)
class Line:
    """What a line names: an image or a video, its caption, its control files and its layers, in order."""

    path: Path
    caption: str
    controls: tuple[Path, ...] = ()
    layers: tuple[Path, ...] = ()


def read_jsonl(path: Path, dataset: ImageDataset) -> Iterator[Line]:
    """Yield each line of `dataset`'s JSONL file; the caption is taken as it is, as musubi-tuner does.

    Raises:
        RequestError: a line that is no such object, blank lines included: the trainer would stop there.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise RequestError(f"{path} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise RequestError(f"{path} is not UTF-8 text. Save it as UTF-8.") from None
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, start=1):
        yield _line(f"{path}, line {number}", line, dataset)


def _line(place: str, line: str, dataset: ImageDataset) -> Line:
    if not line.strip():
        raise RequestError(f"{place} is blank, which the trainer can't read. Remove the line.")
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise RequestError(
            f"{place}, column {error.colno}: {error.msg}. Each line must be one JSON object."
        ) from None
    name = f"{dataset.medium}_path"
    if not isinstance(entry, dict):
        raise RequestError(f'{place} must be an object such as {{"{name}": "...", "caption": "..."}}.')
    first = f"{name}_0" if dataset.medium == "image" and name not in entry else name
    path = _path(place, name, entry.get(first))
    caption = _text(place, "caption", entry.get("caption"))
    return Line(path, caption, _controls(place, entry, dataset), _layers(place, entry, dataset))


def _controls(place: str, entry: dict[str, Any], dataset: ImageDataset) -> tuple[Path, ...]:
    """Return the control files in the order of their numbers, `control_path` as the first."""
    named = [key for key in entry if key.startswith("control")]
    odd = [key for key in named if not re.fullmatch(r"control_path(_[0-9]+)?", key)]
    if named and dataset.rules.control == "none":
        raise RequestError(f"{place} names control images, and the model takes none. Remove control_path.")
    if odd or (dataset.medium == "video" and named not in ([], ["control_path"])):
        numbered = "" if dataset.medium == "video" else " or control_path_0, control_path_1 and so on"
        raise RequestError(f"{place}: {(odd or named)[-1]} is no name. Write control_path{numbered}.")
    numbers = [int(key.partition("control_path_")[2] or 0) for key in named]
    if len(set(numbers)) < len(numbers):
        raise RequestError(f"{place} names a control image twice: {', '.join(named)}. Number them 0, 1, 2.")
    return tuple(_path(place, key, entry[key]) for _, key in sorted(zip(numbers, named, strict=True)))


def _layers(place: str, entry: dict[str, Any], dataset: ImageDataset) -> tuple[Path, ...]:
    """Return image_path_1, image_path_2 and so on, up to the first that is missing."""
    if dataset.medium == "image" and "image_path_1" in entry and not dataset.multiple_target:
        raise RequestError(f"{place} names image_path_1, and the model takes one image a line. Remove it.")
    found: list[Path] = []
    while dataset.multiple_target and (name := f"image_path_{len(found) + 1}") in entry:
        found.append(_path(place, name, entry[name]))
    return tuple(found)


def _path(place: str, name: str, value: object) -> Path:
    text = _text(place, name, value)
    if not Path(text).is_absolute():
        raise RequestError(f'{place}: {name} must be an absolute path, not "{text}".')
    if text.endswith(os.sep):
        raise RequestError(f'{place}: {name} must not end in a slash, or "{text}" loses its name.')
    return Path(text)


def _text(place: str, name: str, value: object) -> str:
    if not isinstance(value, str):
        raise RequestError(f"{place} has no {name} in quotes. Add it.")
    return value
