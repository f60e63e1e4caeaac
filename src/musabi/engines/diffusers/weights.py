"""Weight files as they lie in models/: single files and flat shards, read without any network."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musabi.errors import RequestError
from musabi.whole import is_whole_safetensors, safetensors_header

SHARD = re.compile(r"^(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors$")

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class WeightFiles:
    """One model's weight files in shard order, with every tensor's shape and the files' metadata."""

    files: tuple[Path, ...]
    shapes: Shapes
    metadata: Mapping[str, str]


def shards(path: Path) -> tuple[Path, ...]:
    """Return all shards of the set that `path` belongs to, or `path` alone where it is a single file."""
    match = SHARD.match(path.name)
    if match is None:
        return (path,)
    count = int(match["count"])
    return tuple(
        path.with_name(f"{match['stem']}-{i:05d}-of-{count:05d}.safetensors") for i in range(1, count + 1)
    )


def open_weights(path: Path, what: str) -> WeightFiles:
    """Return what lies in the weight file `path` and its sister shards; `what` names the model for messages.

    Raises:
        RequestError: a file is missing, cut short or no safetensors file.
    """
    files = shards(path)
    shapes: dict[str, tuple[int, ...]] = {}
    metadata: dict[str, str] = {}
    for file in files:
        if not file.is_file():
            raise RequestError(f"The {what} weights {file} are missing. Run: musabi models download")
        header = safetensors_header(file)
        if header is None or not is_whole_safetensors(file):
            raise RequestError(
                f"The {what} weights {file} are cut short or no safetensors file. Delete the file and run: "
                "musabi models download"
            )
        entries = header[1]
        metadata.update(entries.pop("__metadata__", {}))
        shapes.update({name: tuple(entry["shape"]) for name, entry in entries.items()})
    return WeightFiles(files, shapes, metadata)


def read_tensors(weights: WeightFiles, device: str, dtype: Any = None) -> dict[str, Any]:  # noqa: ANN401 - torch.dtype
    """Return all tensors on `device`, cast to `dtype` (a torch.dtype; None keeps what the file holds)."""
    from safetensors.torch import load_file

    tensors: dict[str, Any] = {}
    for file in weights.files:
        for name, tensor in load_file(file, device=device).items():
            tensors[name] = tensor if dtype is None else tensor.to(dtype)
    return tensors
