"""The training batches of each epoch, from the caches: they follow from the seed and the epoch alone."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from musabi.dataset.caches import latents_file, text_file
from musabi.dataset.config import DatasetConfig
from musabi.engines.diffusers import flow
from musabi.engines.diffusers.cachefiles import pairs_of, read_tensor
from musabi.errors import RequestError
from musabi.whole import is_whole_safetensors

VAE_STRIDE = 8


@dataclass(frozen=True)
class Example:
    """Where one item's caches lie, and its bucket's (width, height) in pixels."""

    latents: Path
    text: Path
    bucket: tuple[int, int]


@dataclass(frozen=True)
class Batch:
    """Scaled latents [B, 16, h, w] in fp32 and one embedding [tokens, dim] each, on the CPU."""

    latents: Tensor
    embeds: list[Tensor]


class Batches:
    """All examples of all datasets by bucket; an epoch shuffles each bucket, then the batches."""

    def __init__(self, config: DatasetConfig, seed: int) -> None:
        """Find the caches.

        Raises:
            RequestError: there is no item, or a cache file is missing or cut short.
        """
        self._seed = seed
        self._groups: list[tuple[list[Example], int]] = []
        self.items = 0
        buckets: dict[tuple[int, tuple[int, int]], list[Example]] = defaultdict(list)
        sizes = {index: dataset.batch_size for index, dataset in enumerate(config.datasets)}
        index_of = {dataset: index for index, dataset in enumerate(config.datasets)}
        for dataset, item in pairs_of(config):
            example = Example(latents_file(item, dataset), text_file(item, dataset), item.bucket)
            for path in (example.latents, example.text):
                if not is_whole_safetensors(path):
                    raise RequestError(f"The cache file {path} is missing or cut short. Run: musabi prepare")
            buckets[index_of[dataset], item.bucket] += [example] * dataset.num_repeats
            self.items += dataset.num_repeats
        for key in sorted(buckets):
            self._groups.append((buckets[key], sizes[key[0]]))

    @property
    def per_epoch(self) -> int:
        """The number of batches an epoch has: each bucket's, rounded up."""
        return sum(-(-len(examples) // size) for examples, size in self._groups)

    def epoch(self, number: int) -> list[list[Example]]:
        """Return the batches of epoch `number` (1 is the first) in their order."""
        rng = random.Random(f"{self._seed}/{number}")  # noqa: S311 - the order of pictures, no secrets
        batches = []
        for examples, size in self._groups:
            shuffled = rng.sample(examples, len(examples))
            batches += [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
        rng.shuffle(batches)
        return batches

    def some(self, count: int) -> list[Example]:
        """Return `count` examples spread over all of them, the same ones each time."""
        examples = [example for group, _ in self._groups for example in group]
        return [examples[i * len(examples) // count] for i in range(count)]


def load(examples: Sequence[Example]) -> Batch:
    """Read the caches of one batch.

    Raises:
        RequestError: latents are of another size than the bucket: they were cached for another resolution.
    """
    latents = []
    for example in examples:
        tensor = read_tensor(example.latents, "latents_")
        width, height = example.bucket
        if tuple(tensor.shape[-2:]) != (height // VAE_STRIDE, width // VAE_STRIDE):
            raise RequestError(
                f"The cache file {example.latents} was made for another resolution. Run: musabi prepare"
            )
        latents.append(tensor.float())
    embeds = [read_tensor(example.text, "varlen_llm_embed_").float() for example in examples]
    return Batch(flow.scaled(torch.stack(latents)), embeds)
