"""The layers of a LoRA file under one kind of names, whatever names the file has; fused ones taken apart.

A layer here is what the trainer writes: one of the model's own layers with its factors. Layers that hold
query, key and value in one are cut into three. Nothing is read but alphas and what a cut must look at.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from musabi.errors import RequestError
from musabi.lora.adapter import ALPHA, Adapter, Kind, Module
from musabi.lora.arrays import Array, Made, Reader
from musabi.lora.names import Names, native

Cut = tuple[slice, slice]
EVERYTHING: Final[Cut] = (slice(None), slice(None))


@dataclass(frozen=True)
class Part:
    """One factor of a layer: its key in the file, and the rows and columns of it that are meant."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    cut: Cut | None = None

    def read(self, reader: Reader) -> Array:
        """Return its numbers."""
        array = reader.array(self.key)
        return array if self.cut is None else array[self.cut]

    def made(self, reader: Reader) -> Made:
        """Return it as a tensor to write, as it is."""
        return Made(self.dtype, self.shape, lambda: self.read(reader))


@dataclass(frozen=True)
class Layer:
    """One layer of the model. `alpha` is None where the file has none; `known` where the model has the layer."""

    name: str
    kind: Kind
    parts: dict[str, Part]
    alpha: float | None
    alpha_dtype: str
    known: bool

    @property
    def rank(self) -> int | None:
        """The rank that alpha is divided by; None for a LoKr without low-rank factors."""
        for part in ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
            if part in self.parts:
                return self.parts[part].shape[0]
        return None

    @property
    def scale(self) -> float:
        """What the product of the factors is multiplied by: alpha / rank.

        1 where there is no alpha, where it is 0, and for a LoKr without low-rank factors: so the trainer
        reads them (musubi-tuner v0.3.4, networks/lora.py, lokr.py).
        """
        return self.alpha / self.rank if self.alpha and self.rank else 1.0


def layers(adapter: Adapter, reader: Reader, names: Names | None) -> list[Layer]:
    """Return the layers of a file by the model's dotted names; as they stand in the file where not known.

    Without `names` the model is not known, and nothing is taken apart.

    Raises:
        RequestError: the file has a layer twice, or a fused one that can't be cut.
    """
    made: list[Layer] = []
    for name, module in adapter.modules.items():
        targets = names.resolve(name, underscored=adapter.form == "native") if names else ()
        whole = _layer(adapter, reader, targets[0] if targets else name, module, known=bool(targets))
        made += [whole] if len(targets) < 2 else _taken_apart(adapter, reader, whole, targets)
    counts = Counter(native(layer.name) for layer in made)
    twice = [layer.name for layer in made if counts[native(layer.name)] > 1]
    if twice:
        raise RequestError(
            f"{adapter.path} has the layer {twice[0]} twice, so musabi can't tell which is meant."
        )
    return made


def _layer(adapter: Adapter, reader: Reader, name: str, module: Module, *, known: bool) -> Layer:
    entries = adapter.file.entries
    parts = {
        part: Part(key, entries[key].dtype, entries[key].shape)
        for part, key in module.keys.items()
        if part != ALPHA
    }
    key = module.keys.get(ALPHA)
    alpha = None if key is None else _alpha(adapter, reader, key)
    return Layer(name, module.kind, parts, alpha, entries[key].dtype if key else "F32", known)


def _alpha(adapter: Adapter, reader: Reader, key: str) -> float:
    value = reader.floats(key)
    if value.size != 1 or not np.isfinite(value).all():
        raise RequestError(f"In {adapter.path} {key} is not one number. Save or copy it again.")
    return float(value.reshape(-1)[0])


def _taken_apart(adapter: Adapter, reader: Reader, whole: Layer, targets: tuple[str, ...]) -> list[Layer]:
    """Return the layers that lie one below the other in a fused one.

    Each takes its rows. Where the factors are blocks (so converters join them), each takes its part of the
    rank too, and of alpha, so that the scale stays.
    """
    count = len(targets)
    rows = _ROWS[next(part for part in _ROWS if part in whole.parts)]
    if any(part in whole.parts and whole.parts[part].shape[0] % count for part in rows):
        raise RequestError(
            f"{adapter.path} holds {count} layers in one ({whole.name}), and they can't be taken apart. "
            "Use a LoRA or LoHa, or the file that was trained."
        )
    blocks = whole.kind != "LoKr" and all(_blocks(whole.parts[part].read(reader), count) for part in rows)
    return [_nth(whole, target, index, count, rows, blocks=blocks) for index, target in enumerate(targets)]


# By a part that tells the kind: the parts whose rows are the rows of the layer.
_ROWS: Mapping[str, tuple[str, ...]] = {
    "up": ("up",),
    "hada_w1_a": ("hada_w1_a", "hada_w2_a"),
    "lokr_w1": ("lokr_w1",),
    "lokr_w1_a": ("lokr_w1_a",),
}
# The parts whose rows are the rank that the columns of those above are.
_RANK = ("down", "hada_w1_b", "hada_w2_b")


def _blocks(array: Array, count: int) -> bool:
    """Tell whether only the blocks on the diagonal hold numbers, `count` of them."""
    if array.shape[0] % count or array.shape[1] % count:
        return False
    high, wide = array.shape[0] // count, array.shape[1] // count
    blocks = (array != 0).reshape(count, high, count, wide).any(axis=(1, 3))
    return not (blocks & ~np.eye(count, dtype=bool)).any()


def _nth(whole: Layer, name: str, index: int, count: int, rows: tuple[str, ...], *, blocks: bool) -> Layer:
    parts = {}
    for key, part in whole.parts.items():
        cut = list(EVERYTHING)
        shape = list(part.shape)
        for axis, sliced in ((0, key in rows or (blocks and key in _RANK)), (1, blocks and key in rows)):
            if sliced:
                shape[axis] //= count
                cut[axis] = slice(index * shape[axis], (index + 1) * shape[axis])
        parts[key] = Part(part.key, part.dtype, tuple(shape), (cut[0], cut[1]))
    alpha = whole.alpha / count if whole.alpha is not None and blocks else whole.alpha
    return Layer(name, whole.kind, parts, alpha, whole.alpha_dtype, known=True)
