"""The numbers of safetensors files with numpy: read tensor by tensor, written whole.

Loaded late: a start of the command line does not pay for numpy.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from musabi.lora.tensor_file import BYTES, TensorFile
from musabi.whole import replacing

Array = NDArray[Any]

DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
FLOATS: Final = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")

# The order in which the safetensors library lays tensors down: these kinds first, then by name.
_ORDER: Final = ("I64", "F64", "F32", "I32", "BF16", "F16", "I16", "F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL")
_LEGACY_START, _LEGACY_BYTES = 0x100000, 0x10000


class Reader:
    """Reads the tensors of one file, one at a time."""

    def __init__(self, file: TensorFile) -> None:
        self.file = file
        self._open: IO[bytes] = file.path.open("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def array(self, key: str) -> Array:
        """Return one tensor as it lies in the file."""
        entry = self.file.entries[key]
        self._open.seek(entry.start)
        count = math.prod(entry.shape)
        return np.fromfile(self._open, DTYPES[entry.dtype], count).reshape(entry.shape)

    def floats(self, key: str) -> NDArray[np.float32]:
        """Return one tensor as float32."""
        return self.array(key).astype(np.float32)


@dataclass(frozen=True)
class Made:
    """A tensor of a file that is written: made when its turn comes, so that only one is in memory."""

    dtype: str
    shape: tuple[int, ...]
    make: Callable[[], Array]


def number(value: float, dtype: str = "F32") -> Made:
    """Return a tensor without sides, as alpha is kept."""
    return Made(dtype, (), lambda: np.array(value).astype(DTYPES[dtype]))


def write(path: Path, tensors: Mapping[str, Made], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, atomically, with the hashes that model browsers index by.

    `sshs_model_hash` is the sha256 of the tensors' bytes, `sshs_legacy_hash` that of 64 KiB behind the first
    MiB of a file whose metadata is the `ss_*` entries alone, 8 letters of it (musubi-tuner v0.3.4,
    utils/model_utils.py). The layout is that of the safetensors library, or the hashes would be others.
    """
    names = sorted(tensors, key=lambda name: (_ORDER.index(tensors[name].dtype), name))
    lasting = {name: value for name, value in metadata.items() if name.startswith("ss_")}
    room = {"sshs_model_hash": "0" * 64, "sshs_legacy_hash": "0" * 8}
    head = _header(names, tensors, {**metadata, **room})
    with replacing(path) as part, part.open("w+b") as file:
        file.write(head)
        digest = hashlib.sha256()
        for name in names:
            data = _bytes(tensors[name])
            digest.update(data)
            file.write(data)
        legacy = _legacy_hash(file, len(head), _header(names, tensors, lasting))
        hashes = {"sshs_model_hash": digest.hexdigest(), "sshs_legacy_hash": legacy}
        file.seek(0)
        file.write(_header(names, tensors, {**metadata, **hashes}))


def _bytes(tensor: Made) -> memoryview:
    made = np.ascontiguousarray(tensor.make()).astype(DTYPES[tensor.dtype], copy=False)
    if made.size != math.prod(tensor.shape):
        raise ValueError(f"made {made.shape} where {tensor.shape} was said")
    return made.reshape(-1).view(np.uint8).data


def _header(names: list[str], tensors: Mapping[str, Made], metadata: Mapping[str, str]) -> bytes:
    values: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        begin, end = end, end + math.prod(tensors[name].shape) * BYTES[tensors[name].dtype]
        values[name] = {
            "dtype": tensors[name].dtype,
            "shape": list(tensors[name].shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _legacy_hash(file: IO[bytes], begin: int, header: bytes) -> str:
    """Return the hash of 64 KiB of the file that would be there with `header` in place of `begin` bytes."""
    chosen = header[_LEGACY_START : _LEGACY_START + _LEGACY_BYTES]
    file.seek(begin + max(0, _LEGACY_START - len(header)))
    chosen += file.read(_LEGACY_BYTES - len(chosen))
    return hashlib.sha256(chosen).hexdigest()[:8]
