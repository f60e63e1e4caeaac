"""Reads the JSONL file of an image dataset: one object a line with `image_path` and `caption`."""

import json
from collections.abc import Iterator
from pathlib import Path

from musabi.errors import RequestError


def read_jsonl(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield (image, caption) of each line; the caption is taken as it is, as musubi-tuner does.

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
        yield _entry(f"{path}, line {number}", line)


def _entry(place: str, line: str) -> tuple[Path, str]:
    if not line.strip():
        raise RequestError(f"{place} is blank, which the trainer can't read. Remove the line.")
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise RequestError(
            f"{place}, column {error.colno}: {error.msg}. Each line must be one JSON object."
        ) from None
    if not isinstance(entry, dict):
        raise RequestError(f'{place} must be an object such as {{"image_path": "...", "caption": "..."}}.')
    image = _text(place, "image_path", entry.get("image_path", entry.get("image_path_0")))
    caption = _text(place, "caption", entry.get("caption"))
    if any(name.startswith("control_path") for name in entry):
        raise RequestError(f"{place} names control images, and Z-Image takes none. Remove control_path.")
    if not Path(image).is_absolute():
        raise RequestError(f'{place}: image_path must be an absolute path, not "{image}".')
    return Path(image), caption


def _text(place: str, name: str, value: object) -> str:
    if not isinstance(value, str):
        raise RequestError(f"{place} has no {name} in quotes. Add it.")
    return value
