"""A Z-Image of any size with random weights, and caches of a dataset that was never drawn, written in pieces.

Names and shapes are those of the published files; one tensor at most is in memory, in pieces of 16 MiB.
"""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musabi.whole import replacing

Shape = tuple[int, ...]
BYTES = {"BF16": 2, "F32": 4}
PIECE = 2**23
"""Values that are written at once."""
SPREAD = 0.02
"""Standard deviation of the weights: what most models of this kind start from, so that the loss stays finite."""
LATENT_CHANNELS, LATENT_STEP, PATCH = 16, 8, 2
SHARDS = 2


@dataclass(frozen=True)
class Sizes:
    """What makes a Z-Image large or small. The head's size follows from `axes`, the rotary embedding's axes."""

    dim: int = 3840
    layers: int = 30
    refiners: int = 2
    text: int = 2560
    axes: tuple[int, int, int] = (32, 48, 48)

    @property
    def heads(self) -> int:
        return self.dim // sum(self.axes)


REAL = Sizes()
TOY = Sizes(dim=64, layers=3, refiners=1, text=64, axes=(8, 12, 12))


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file: its name, its number format as safetensors spells it, its shape."""

    name: str
    dtype: str
    shape: Shape

    @property
    def bytes(self) -> int:
        return prod(self.shape) * BYTES[self.dtype]


def tensors(sizes: Sizes) -> Iterator[Tensor]:
    """Yield the tensors of the DiT in the order of its file."""
    dim, small = sizes.dim, min(sizes.dim, 256)
    ends: list[tuple[str, Shape]] = [
        ("x_pad_token", (1, dim)),
        ("cap_pad_token", (1, dim)),
        *_linear("all_x_embedder.2-1", dim, LATENT_CHANNELS * PATCH**2),
        *_linear("all_final_layer.2-1.linear", LATENT_CHANNELS * PATCH**2, dim),
        *_linear("all_final_layer.2-1.adaLN_modulation.1", dim, small),
        *_linear("t_embedder.mlp.0", 1024, 256),
        *_linear("t_embedder.mlp.2", small, 1024),
        ("cap_embedder.0.weight", (sizes.text,)),
        *_linear("cap_embedder.1", dim, sizes.text),
    ]
    stacks = (("noise_refiner", sizes.refiners, True), ("context_refiner", sizes.refiners, False))
    for stack, count, modulated in (*stacks, ("layers", sizes.layers, True)):
        for number in range(count):
            ends += _block(f"{stack}.{number}", sizes, modulated)
    return (Tensor(name, "BF16", shape) for name, shape in ends)


def _linear(name: str, outputs: int, inputs: int) -> tuple[tuple[str, Shape], ...]:
    return (f"{name}.weight", (outputs, inputs)), (f"{name}.bias", (outputs,))


def _block(name: str, sizes: Sizes, modulated: bool) -> list[tuple[str, Shape]]:
    dim, wide, head = sizes.dim, int(sizes.dim / 3 * 8), sum(sizes.axes)
    attention = [
        (f"{name}.attention.{part}.weight", (dim, dim)) for part in ("to_q", "to_k", "to_v", "to_out.0")
    ]
    norms = [f"{part}_norm{number}" for part in ("attention", "ffn") for number in (1, 2)]
    return [
        *((f"{name}.attention.norm_{part}.weight", (head,)) for part in "qk"),
        *attention,
        (f"{name}.feed_forward.w1.weight", (wide, dim)),
        (f"{name}.feed_forward.w2.weight", (dim, wide)),
        (f"{name}.feed_forward.w3.weight", (wide, dim)),
        *((f"{name}.{norm}.weight", (dim,)) for norm in norms),
        *(_linear(f"{name}.adaLN_modulation.0", 4 * dim, min(dim, 256)) if modulated else ()),
    ]


def header(listed: Iterable[Tensor], metadata: dict[str, str]) -> bytes:
    """Return a safetensors file's beginning: 8 bytes of length, and the JSON that says what follows where."""
    entries: dict[str, object] = {"__metadata__": metadata}
    at = 0
    for one in listed:
        entries[one.name] = {"dtype": one.dtype, "shape": one.shape, "data_offsets": (at, at + one.bytes)}
        at += one.bytes
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_dit(folder: Path, sizes: Sizes, seed: int = 0) -> Path:
    """Write the DiT's shards, where they are not there; return the first one."""
    listed = list(tensors(sizes))
    values = _Values(seed)
    files = [
        folder / f"diffusion_pytorch_model-{number + 1:05d}-of-{SHARDS:05d}.safetensors"
        for number in range(SHARDS)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(files):
        part = listed[number * len(listed) // SHARDS : (number + 1) * len(listed) // SHARDS]
        beginning = header(part, {"format": "pt"})
        if file.exists() and file.stat().st_size == len(beginning) + sum(one.bytes for one in part):
            continue
        with replacing(file, sync=False) as temporary, temporary.open("wb") as out:
            out.write(beginning)
            for one in part:
                for piece in values.of(one):
                    out.write(piece.data)
    return files[0]


class _Values:
    """Random values in bf16, drawn once and read again from another place for each tensor."""

    def __init__(self, seed: int) -> None:
        drawn = np.random.default_rng(seed).standard_normal(PIECE, dtype=np.float32) * np.float32(SPREAD)
        self._pool = _bf16(drawn)
        self._where = random.Random(seed)  # noqa: S311 - no secrets

    def of(self, one: Tensor) -> Iterator[NDArray[np.uint16]]:
        """Yield a tensor's values: ones for a norm, zeros for a bias, random ones for the rest."""
        left = prod(one.shape)
        if len(one.shape) == 1:
            yield _bf16(
                np.full(left, "norm" in one.name or one.name.startswith("cap_embedder.0"), np.float32)
            )
            return
        while left:
            start = self._where.randrange(PIECE)
            piece = self._pool[start : start + left]
            yield piece
            left -= len(piece)


def _bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the upper half of each number, which is bf16, rounded towards zero."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def write_caches(folder: Path, sizes: Sizes, side: int, count: int, seed: int = 0) -> None:
    """Write what both caching scripts would leave of `count` pictures of `side` pixels, with random values.

    Captions have 96 to 159 tokens, so that batches are padded as they are with real captions.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    edge = side // LATENT_STEP
    common = {"architecture": "z_image", "format_version": "1.0.1"}
    for number in range(count):
        stem = f"random{number:03d}"
        latent = rng.standard_normal((LATENT_CHANNELS, edge, edge), dtype=np.float32)
        tensor = Tensor(f"latents_1x{edge}x{edge}_float32", "F32", latent.shape)
        size = {"width": str(side), "height": str(side)}
        _write(
            folder / f"{stem}_{side:04d}x{side:04d}_zi.safetensors", tensor, latent.tobytes(), common | size
        )
        text = rng.standard_normal((int(rng.integers(96, 160)), sizes.text), dtype=np.float32)
        tensor = Tensor("varlen_llm_embed_bfloat16", "BF16", text.shape)
        said = {"caption1": f"random {number}"}
        _write(folder / f"{stem}_zi_te.safetensors", tensor, _bf16(text).tobytes(), common | said)


def _write(file: Path, tensor: Tensor, data: bytes, metadata: dict[str, str]) -> None:
    file.write_bytes(header([tensor], metadata) + data)
