"""Weight files as they lie in models/: single files and flat shards, read without any network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musabi.errors import RequestError
from musabi.whole import is_whole_safetensors, safetensors_header, shards

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class WeightFiles:
    """One model's weight files in shard order, with every tensor's shape and the files' metadata."""

    files: tuple[Path, ...]
    shapes: Shapes
    metadata: Mapping[str, str]


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
