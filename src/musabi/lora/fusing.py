"""Layers of a model that ComfyUI keeps as one, joined without loss.

Each layer gets rows and a part of the rank of its own: up is made of blocks on the diagonal, the downs stand one
below the other, and so do the factors of a LoHa.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from musabi.errors import RequestError
from musabi.lora.adapter import Adapter
from musabi.lora.arrays import Array, Made, Reader, number
from musabi.lora.factors import Floats, flat, halves, widest
from musabi.lora.layers import Layer


def fused_keys(adapter: Adapter, reader: Reader, parts: Sequence[Layer | None]) -> dict[str, Made]:
    """Return the tensors of one layer that holds these, by how their keys end.

    `parts` go from the first rows to the last; one that the LoRA did not train is None, and its rows add nothing.

    Raises:
        RequestError: they are of different kinds, or LoKrs, whose product can't be said by blocks.
    """
    layers = [layer for layer in parts if layer is not None]
    kinds = {layer.kind for layer in layers}
    if kinds == {"LoRA"}:
        down, up = zip(*(halves(layer.scale) for layer in layers), strict=True)
        return {
            "lora_A.weight": _below(reader, layers, "down", down),
            "lora_B.weight": _blocks(reader, parts, "up", up),
        }
    if kinds == {"LoHa"}:
        return _loha(reader, parts, layers)
    raise RequestError(
        f"{adapter.path} is a {' and '.join(sorted(kinds))}. ComfyUI keeps {layers[0].name} and others in one layer, "
        "and only a LoRA or LoHa can be joined so. Train one of these for ComfyUI."
    )


def _loha(reader: Reader, parts: Sequence[Layer | None], layers: list[Layer]) -> dict[str, Made]:
    """Where all have one scale it is said by alpha, as the rank is a larger one now; else the factors take it."""
    scales = {layer.scale for layer in layers}
    shared = scales.pop() if len(scales) == 1 else 1.0
    factors = [layer.scale / shared for layer in layers]
    ones = [1.0] * len(layers)
    rank = sum(layer.rank or 0 for layer in layers)
    return {
        "hada_w1_a": _blocks(reader, parts, "hada_w1_a", factors),
        "hada_w1_b": _below(reader, layers, "hada_w1_b", ones),
        "hada_w2_a": _blocks(reader, parts, "hada_w2_a", ones),
        "hada_w2_b": _below(reader, layers, "hada_w2_b", ones),
        "alpha": number(shared * rank),
    }


def _below(reader: Reader, layers: list[Layer], part: str, factors: Sequence[float]) -> Made:
    """Return one part of all layers, each below the one before."""
    shapes = [layer.parts[part].shape for layer in layers]
    shape = (sum(shape[0] for shape in shapes), *shapes[0][1:])
    dtype = widest(layer.parts[part].dtype for layer in layers)
    return Made(dtype, shape, lambda: np.concatenate(_read(reader, layers, part, factors)))


def _blocks(reader: Reader, parts: Sequence[Layer | None], part: str, factors: Sequence[float]) -> Made:
    """Return one part of all layers as blocks on the diagonal; a layer that is None has rows of the same number."""
    layers = [layer for layer in parts if layer is not None]
    rows = layers[0].parts[part].shape[0]
    heights = [rows if layer is None else layer.parts[part].shape[0] for layer in parts]
    shape = (sum(heights), sum(layer.parts[part].shape[1] for layer in layers))
    starts = [sum(heights[:place]) for place, layer in enumerate(parts) if layer is not None]
    dtype = widest(layer.parts[part].dtype for layer in layers)
    return Made(dtype, shape, partial(_diagonal, reader, layers, part, factors, starts, shape))


def _diagonal(
    reader: Reader,
    layers: list[Layer],
    part: str,
    factors: Sequence[float],
    starts: list[int],
    shape: tuple[int, int],
) -> Array:
    made = np.zeros(shape, np.float32)
    column = 0
    for start, block in zip(starts, _read(reader, layers, part, factors), strict=True):
        made[start : start + block.shape[0], column : column + block.shape[1]] = block
        column += block.shape[1]
    return made


def _read(reader: Reader, layers: list[Layer], part: str, factors: Sequence[float]) -> list[Floats]:
    return [
        flat(layer.parts[part].read(reader)) * np.float32(factor)
        for layer, factor in zip(layers, factors, strict=True)
    ]
