"""Small sums with the factors of a layer: scales, and the size of what a LoRA adds to a weight."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from musabi.lora.arrays import Array, Reader
from musabi.lora.layers import Layer

Floats = NDArray[np.float32]
_BLOCK = 1 << 22


def halves(scale: float) -> tuple[float, float]:
    """Return (factor for down, factor for up) whose product is `scale`: about its square root each.

    The first is a power of two, and so is the second where `scale` is one (16/32, 1/4, 2): multiplying by
    them changes no digit, so a folded bf16 file computes bit for bit what the trained one does. The square
    root itself would round both factors.
    """
    if scale == 0 or not math.isfinite(scale):
        return 1.0, scale
    half = 2.0 ** (math.frexp(abs(scale))[1] // 2)
    return half, scale / half


def times(array: Array, factor: float) -> Array:
    """Return the array times a number, computed in float32 and rounded once to its own kind of numbers."""
    if factor == 1:
        return array
    wide = array if array.dtype == np.float64 else array.astype(np.float32)
    return (wide * wide.dtype.type(factor)).astype(array.dtype)


def widest(dtypes: Iterable[str]) -> str:
    """Return the kind of numbers that loses nothing of any of these."""
    kinds = set(dtypes)
    return kinds.pop() if len(kinds) == 1 else "F32"


def flat(array: Array) -> Floats:
    """Return a factor as a float32 matrix; the inner sides of a convolution's are one side."""
    wide = array.astype(np.float32)
    return wide.reshape(wide.shape[0], -1)


def norm(layer: Layer, reader: Reader) -> float:
    """Return the Frobenius norm of what the layer adds to its weight: |scale x up x down|.

    The sum is not formed where it need not be: |BA|^2 = trace((B'B)(AA')), and |kron(a, b)| = |a| |b|.
    """
    parts = {name: flat(part.read(reader)) for name, part in layer.parts.items()}
    with np.errstate(all="ignore"):  # a broken layer is told by its norm
        return abs(layer.scale) * _NORMS[layer.kind](parts)


def product_norm(up: Floats, down: Floats) -> float:
    """Return |up x down|, from products of rank x rank numbers."""
    squared = float(np.sum((up.T @ up).astype(np.float64) * (down @ down.T).astype(np.float64)))
    return math.sqrt(max(squared, 0.0)) if math.isfinite(squared) else squared


def _lora(parts: dict[str, Floats]) -> float:
    return product_norm(parts["up"], parts["down"])


def _loha(parts: dict[str, Floats]) -> float:
    """The product by elements has no short cut: it is formed, some rows at a time."""
    rows = max(1, _BLOCK // parts["hada_w1_b"].shape[1])
    total = 0.0
    for start in range(0, parts["hada_w1_a"].shape[0], rows):
        one, two = (parts[f"hada_w{n}_a"][start : start + rows] @ parts[f"hada_w{n}_b"] for n in "12")
        total += float(np.sum(np.square(one * two), dtype=np.float64))
    return math.sqrt(total)


def _lokr(parts: dict[str, Floats]) -> float:
    return math.prod(
        float(np.linalg.norm(parts[f"lokr_w{n}"]))
        if f"lokr_w{n}" in parts
        else product_norm(parts[f"lokr_w{n}_a"], parts[f"lokr_w{n}_b"])
        for n in "12"
    )


_NORMS = {"LoRA": _lora, "LoHa": _loha, "LoKr": _lokr}
