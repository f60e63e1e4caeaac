"""Whether a safetensors file holds numbers only. Its tensors are read in pieces; their numbers are not decoded.

A number that is infinite or NaN has all bits of its exponent set (IEEE 754; bfloat16 is the upper half of
float32).
"""

from collections.abc import Iterator
from pathlib import Path

from musabi.whole import safetensors_header

EXPONENT = {
    "F64": ("<u8", 0x7FF0 << 48),
    "F32": ("<u4", 0x7F80 << 16),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
PIECE = 16 * 1024 * 1024


def is_finite(path: Path) -> bool:
    """Tell whether no number in the file is infinite or NaN; a file that is not there holds none."""
    header = safetensors_header(path) if path.is_file() else None
    if header is None:
        return True
    import numpy as np

    length, entries = header
    for name, entry in entries.items():
        if name == "__metadata__" or entry["dtype"] not in EXPONENT:
            continue
        kind, mask = EXPONENT[entry["dtype"]]
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        for piece in _pieces(path, begin, end):
            bits = np.frombuffer(piece, dtype=kind)
            if bool(((bits & bits.dtype.type(mask)) == mask).any()):
                return False
    return True


def _pieces(path: Path, begin: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(begin)
        while begin < end:
            piece = file.read(min(PIECE, end - begin))
            if not piece:
                return
            begin += len(piece)
            yield piece
