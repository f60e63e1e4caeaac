"""Cache files in musubi-tuner's format (v0.3.4, dataset/cache_io.py), written whole or not at all."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from musabi.dataset.caches import latents_file, text_file
from musabi.dataset.config import DatasetConfig, ImageDataset
from musabi.dataset.items import Item, scan
from musabi.errors import RequestError
from musabi.whole import is_whole_safetensors, replacing

ARCHITECTURE = "z_image"
FORMAT_VERSION = "1.0.1"

Pair = tuple[ImageDataset, Item]
FileOf = Callable[[Item, ImageDataset], Path]


def write_latents(pair: Pair, latents: Tensor) -> None:
    """Write the raw VAE mean of one picture: [16, height / 8, width / 8], fp32."""
    dataset, item = pair
    _, height, width = latents.shape
    metadata = {"width": str(item.width), "height": str(item.height)}
    _write(latents_file(item, dataset), f"latents_1x{height}x{width}_float32", latents, metadata)


def write_text(pair: Pair, embedding: Tensor) -> None:
    """Write the embedding of one caption: [tokens, dim], stored as bf16."""
    dataset, item = pair
    path = text_file(item, dataset)
    _write(path, "varlen_llm_embed_bfloat16", embedding.to(torch.bfloat16), {"caption1": item.caption})


def _write(path: Path, key: str, tensor: Tensor, metadata: dict[str, str]) -> None:
    from safetensors.torch import save

    data = save(
        {key: torch.nan_to_num(tensor).cpu().contiguous()},
        {"architecture": ARCHITECTURE, "format_version": FORMAT_VERSION, **metadata},
    )
    with replacing(path) as part:
        part.write_bytes(data)


def read_tensor(path: Path, prefix: str) -> Tensor:
    """Return the tensor whose key starts with `prefix` from a cache file.

    Raises:
        RequestError: the file is not there, not whole, or holds no such tensor.
    """
    from safetensors.torch import load_file

    if not is_whole_safetensors(path):
        raise RequestError(f"The cache file {path} is missing or cut short. Run: musabi prepare")
    for key, tensor in load_file(path).items():
        if key.startswith(prefix):
            found: Tensor = tensor
            return found
    raise RequestError(
        f"The cache file {path} holds no {prefix.rstrip('_')}. Delete it and run: musabi prepare"
    )


def pairs_of(config: DatasetConfig) -> list[Pair]:
    """Return every item of every dataset, in their order.

    Raises:
        RequestError: there is none.
    """
    found = [(dataset, item) for dataset in config.datasets for item in scan(dataset).items]
    if not found:
        raise RequestError(f"{config.path} leads to no image with a caption. Run: musabi check")
    return found


def to_do(pairs: Iterable[Pair], file_of: FileOf, skip_existing: bool) -> list[Pair]:
    """Return the pairs whose cache file has to be made."""
    return [
        (dataset, item)
        for dataset, item in pairs
        if not (skip_existing and is_whole_safetensors(file_of(item, dataset)))
    ]


def remove_strangers(config: DatasetConfig, pairs: Sequence[Pair], file_of: FileOf, ending: str) -> int:
    """Delete cache files that belong to no item (names ending in `ending`); return how many.

    musubi-tuner would train on them.
    """
    own = {file_of(item, dataset) for dataset, item in pairs}
    gone = 0
    for dataset in config.datasets:
        for path in dataset.cache_directory.glob(f"*{ending}"):
            if path not in own and not path.name.startswith("."):
                path.unlink()
                gone += 1
    return gone
