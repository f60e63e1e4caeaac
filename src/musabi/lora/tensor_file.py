"""A safetensors file, read tensor by tensor: its header here, its numbers in `arrays`.

Layout: 8 bytes little-endian header length, the JSON header, the tensors (https://huggingface.co/docs/safetensors).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musabi.errors import RequestError
from musabi.whole import safetensors_header

BYTES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes a number, of the kinds of numbers that LoRA files hold."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: its kind of numbers, its shape, and where it begins, in bytes of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class TensorFile:
    """A whole safetensors file, by its header."""

    path: Path
    entries: dict[str, Entry]
    metadata: dict[str, str]


def read_header(path: Path) -> TensorFile:
    """Return what the header of a safetensors file says.

    Raises:
        RequestError: it is not there, empty, no safetensors file, damaged or cut off.
    """
    if path.is_dir():
        raise RequestError(
            f"{path} is a folder. Name a LoRA file in it, such as {path / 'NAME.safetensors'}."
        )
    if not path.is_file():
        raise RequestError(f"{path} is not there. Name a LoRA file, such as output/NAME.safetensors.")
    size = path.stat().st_size
    if not size:
        raise RequestError(f"{path} is empty. Copy it again, or take another checkpoint.")
    header = safetensors_header(path)
    if header is None:
        raise RequestError(f"{path} is no safetensors file, so it can't be a LoRA that musabi reads.")
    length, values = header
    metadata = values.pop("__metadata__", None) or {}
    begin = 8 + length
    if not isinstance(metadata, dict):
        raise RequestError(f"The header of {path} is damaged. Copy it again.")
    try:
        entries = {name: _entry(value, begin) for name, value in values.items()}
    except (KeyError, TypeError, ValueError):
        raise RequestError(f"The header of {path} is damaged. Copy it again.") from None
    for name, entry in entries.items():
        if entry.dtype not in BYTES:
            raise RequestError(
                f"{path} holds {entry.dtype} numbers ({name}), which musabi can't read. Save it as bf16."
            )
    end = max((_end(entry) for entry in entries.values()), default=begin)
    if size < end:
        raise RequestError(
            f"{path} is cut off: it holds fewer bytes than its header says. Take another checkpoint."
        )
    return TensorFile(path, entries, {str(name): str(value) for name, value in metadata.items()})


def _entry(value: Any, begin: int) -> Entry:  # noqa: ANN401 - JSON
    shape = tuple(int(side) for side in value["shape"])
    start, end = (int(offset) for offset in value["data_offsets"])
    entry = Entry(str(value["dtype"]), shape, begin + start)
    known = entry.dtype not in BYTES or _end(entry) == begin + end
    if min(start, end - start, *shape, 0) < 0 or not known:
        raise ValueError(value)
    return entry


def _end(entry: Entry) -> int:
    return entry.start + math.prod(entry.shape) * BYTES.get(entry.dtype, 0)
