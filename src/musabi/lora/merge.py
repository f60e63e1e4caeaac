"""Several LoRAs of one model as one: what it adds is the weighted sum of what they add.

Exact, by standing the ranks side by side: [w1 B1, w2 B2] x [A1; A2] = w1 B1 A1 + w2 B2 A2. With a rank, the
largest singular values of each layer's sum are kept, which is the nearest that this rank can come.
"""

import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from musabi.errors import RequestError
from musabi.lora.adapter import Adapter, named, read_adapter, require_only_layers
from musabi.lora.arrays import Array, Made, Reader, number, write
from musabi.lora.factors import Floats, flat, halves, widest
from musabi.lora.layers import Layer, layers
from musabi.lora.models import Model, candidates, titles
from musabi.lora.names import Names, native

_OF_THE_FILE: Final = (
    "modelspec.",
    "ss_base_model_version",
    "ss_network_module",
    "ss_sd_model_name",
    "ss_vae_name",
)


@dataclass(frozen=True)
class Merged:
    """What came of a merge. `energy`: the share of the sum's squared norm that a truncated rank has kept."""

    path: Path
    layers: int
    rank: int
    form: str
    energy: float | None = None


@dataclass(frozen=True)
class _Term:
    """One LoRA's layer in a sum, and what it is multiplied by."""

    layer: Layer
    reader: Reader
    weight: float


_Sum = tuple[_Term, ...]


def merge(
    files: Sequence[Path],
    weights: Sequence[float],
    output: Path,
    models: Iterable[Model],
    rank: int | None = None,
) -> Merged:
    """Write the weighted sum of LoRAs of one model.

    The result has ComfyUI's keys where all files have the same ones of these, else the trainer's.

    Raises:
        RequestError: the files are of different models, sizes or kinds, or the weights don't fit.
    """
    if len(files) < 2 or len(weights) != len(files):
        raise RequestError(
            f"{len(files)} files and {len(weights)} weights were given. Name two LoRAs or more and a weight for each, "
            "such as --weights 0.7,0.5."
        )
    adapters = [read_adapter(path) for path in files]
    names = _require_one_model(adapters, tuple(models))
    prefixes = {adapter.prefix for adapter in adapters}
    prefix = prefixes.pop() if len(prefixes) == 1 and adapters[0].form == "dotted" else None
    with ExitStack() as stack:
        readers = [stack.enter_context(Reader(adapter.file)) for adapter in adapters]
        sums = _sums(adapters, readers, weights, names)
        made = [_Joined(name, terms, rank) for name, terms in sums.items()]
        tensors: dict[str, Made] = {}
        for joined in made:
            tensors |= joined.tensors(prefix)
        largest = max(joined.rank for joined in made)
        write(output, tensors, _metadata([adapter.file.metadata for adapter in adapters], files, largest))
    return Merged(output, len(made), largest, "native" if prefix is None else "dotted", _energy(made, rank))


def _require_one_model(adapters: list[Adapter], models: tuple[Model, ...]) -> Names | None:
    """Return the layers of the model that all are of; None where none is known, and names must do.

    Raises:
        RequestError: they are of different models.
    """
    fitting = [candidates(adapter, models) for adapter in adapters]
    families = [{model.family for model in found} for found in fitting]
    for adapter, found, family in zip(adapters, fitting, families, strict=True):
        known = families[0] or family
        if not (families[0] & family if known else _underscored(adapters[0]) & _underscored(adapter)):
            raise RequestError(
                f"{adapters[0].path} is a LoRA of {_called(fitting[0])}, {adapter.path} one of {_called(found)}. "
                "Only LoRAs of one model can be merged."
            )
    shared = set.intersection(*families)
    return next(model for model in fitting[0] if model.family in shared).names if shared else None


def _underscored(adapter: Adapter) -> set[str]:
    return {native(name) for name in adapter.modules}


def _called(found: tuple[Model, ...]) -> str:
    return " or ".join(titles(found)) or "a model that musabi does not know"


def _sums(
    adapters: list[Adapter], readers: list[Reader], weights: Sequence[float], names: Names | None
) -> dict[str, _Sum]:
    """Return, by layer, what is added up; layers that only some of the files have are there with those."""
    sums: dict[str, _Sum] = {}
    dotted: dict[str, str] = {}
    for adapter, reader, weight in zip(adapters, readers, weights, strict=True):
        if adapter.kinds != ("LoRA",):
            raise RequestError(
                f"{adapter.path} is a {' and '.join(adapter.kinds)}, whose sum with another is none. "
                "Only LoRAs can be merged."
            )
        require_only_layers(adapter)
        for layer in layers(adapter, reader, names):
            name = dotted.setdefault(native(layer.name), layer.name)
            sums[name] = (*sums.get(name, ()), _Term(layer, reader, weight))
            _require_one_size(name, sums[name])
    return sums


def _require_one_size(name: str, terms: _Sum) -> None:
    def sides(term: _Term) -> tuple[tuple[int, ...], int]:
        return term.layer.parts["down"].shape[1:], term.layer.parts["up"].shape[0]

    one, other = terms[0], terms[-1]
    if sides(one) != sides(other):
        raise RequestError(
            f"{one.reader.file.path} and {other.reader.file.path} are for models of different sizes: the layer {name} "
            f"has {_words(sides(one))} in the first and {_words(sides(other))} in the second."
        )


def _words(sides: tuple[tuple[int, ...], int]) -> str:
    return f"{math.prod(sides[0])} inputs and {sides[1]} outputs"


class _Joined:
    """One layer of the result, made when it is written. Its scale is 1, so its alpha is its rank."""

    def __init__(self, name: str, terms: _Sum, most: int | None) -> None:
        self.name = name
        self.terms = terms
        whole = sum(term.layer.rank or 0 for term in terms)
        self.most = most if most is not None and most < whole else None
        self.rank = self.most or whole
        self.squares: tuple[float, float] | None = None
        self._ready: dict[str, Array] = {}

    def tensors(self, prefix: str | None) -> dict[str, Made]:
        """Return its keys: the trainer's, or dotted ones under `prefix`."""
        down, up = (self.terms[0].layer.parts[part] for part in ("down", "up"))
        dtype = widest([part.dtype for term in self.terms for part in term.layer.parts.values()])
        shapes = {"down": (self.rank, *down.shape[1:]), "up": (up.shape[0], self.rank, *up.shape[2:])}
        made = {part: Made(dtype, shape, partial(self._factor, part)) for part, shape in shapes.items()}
        if prefix is not None:
            name = prefix + self.name
            return {f"{name}.lora_A.weight": made["down"], f"{name}.lora_B.weight": made["up"]}
        name = native(self.name)
        keys = {f"{name}.lora_down.weight": made["down"], f"{name}.lora_up.weight": made["up"]}
        return keys | {f"{name}.alpha": number(self.rank)}

    def _factor(self, part: str) -> Array:
        if not self.most:
            return self._whole(part)
        self._ready = self._ready or self._truncated()
        return self._ready.pop(part)

    def _whole(self, part: str) -> Floats:
        """Return all factors of one kind, one below the other (down) or side by side (up)."""
        which = ("down", "up").index(part)
        pieces = [
            flat(term.layer.parts[part].read(term.reader))
            * np.float32(halves(term.weight * term.layer.scale)[which])
            for term in self.terms
        ]
        return np.concatenate(pieces, axis=which)

    def _truncated(self) -> dict[str, Array]:
        """Return the factors of the nearest layer of the wanted rank.

        The sum is never formed: with B = Q R and A' = P S its singular values are those of R S'.
        """
        q, r = np.linalg.qr(self._whole("up"))
        p, s = np.linalg.qr(self._whole("down").T)
        left, values, right = np.linalg.svd(r @ s.T)
        self.squares = (float(np.square(values[: self.most]).sum()), float(np.square(values).sum()))
        roots = np.sqrt(values[: self.most])
        up = q @ left[:, : self.most] * roots
        down = roots[:, None] * (right[: self.most] @ p.T)
        return {"up": _padded(up, 1, self.rank), "down": _padded(down, 0, self.rank)}


def _padded(array: Array, axis: int, size: int) -> Array:
    """A layer that is narrower than the rank has fewer singular values: the rest is zero."""
    room = [(0, 0), (0, 0)]
    room[axis] = (0, size - array.shape[axis])
    return np.pad(array, room)


def _energy(made: list[_Joined], rank: int | None) -> float | None:
    squares = [joined.squares for joined in made if joined.squares]
    whole = sum(all_of_it for _, all_of_it in squares)
    if rank is None or not squares:
        return None
    return sum(kept for kept, _ in squares) / whole if whole else 1.0


def _metadata(every: list[dict[str, str]], files: Sequence[Path], rank: int) -> dict[str, str]:
    """Return what all files say alike about the model, and what the result was merged from."""
    first = every[0]
    alike = {
        key: value
        for key, value in first.items()
        if key.startswith(_OF_THE_FILE) and all(other.get(key) == value for other in every)
    }
    merged = ", ".join(path.name for path in files)
    return alike | {
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank),
        "modelspec.merged_from": merged,
        "modelspec.title": f"merged from {named([path.stem for path in files])}",
    }
