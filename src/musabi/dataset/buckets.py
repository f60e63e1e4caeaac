"""The bucket of an image and the batches of an epoch, exactly as musubi-tuner v0.3.4 chooses them."""

import math
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

from musabi.job.facts import BucketFacts

STEP = 16
"""Sides of Z-Image's buckets are multiples of this, in pixels (musubi-tuner, dataset/bucket.py)."""

Size = tuple[int, int]


class Bucketed(Protocol):
    """An item that has its bucket, (width, height) in pixels."""

    @property
    def bucket(self) -> Size: ...


class Batching(Protocol):
    """What a dataset says about batches."""

    @property
    def batch_size(self) -> int: ...
    @property
    def num_repeats(self) -> int: ...


def bucket_for(
    width: int, height: int, resolution: Size, enable_bucket: bool, no_upscale: bool, step: int = STEP
) -> Size:
    """Return the (width, height) that an image of `width` x `height` is resized and cropped to, in pixels.

    Without buckets that is `resolution`. With `no_upscale` an image of at most the resolution's area
    keeps its size, rounded down to the step, so a side may become 0. Otherwise the bucket with the nearest
    aspect ratio is taken, the narrowest of equals.
    """
    if not enable_bucket:
        return resolution
    if no_upscale and width * height <= resolution[0] * resolution[1]:
        return width - width % step, height - height % step
    aspect = width / height
    return min(_bucket_sizes(resolution, step), key=lambda size: abs(size[0] / size[1] - aspect))


@lru_cache
def _bucket_sizes(resolution: Size, step: int) -> tuple[Size, ...]:
    """Return all bucket sizes of about the resolution's area, narrowest first."""
    area = resolution[0] * resolution[1]
    side = int(math.sqrt(area))
    shortest = side // 2 - (side // 2) % step
    sizes: set[Size] = set()
    for short in range(shortest, side + step, step):
        long = area // short - (area // short) % step
        sizes |= {(short, long), (long, short)}
    return tuple(sorted(sizes))


def buckets(items: Iterable[Bucketed], dataset: Batching) -> tuple[BucketFacts, ...]:
    """Return the buckets of a dataset, narrowest first, with the batches that an epoch takes from each.

    A batch never mixes buckets, and the last of a bucket may be smaller: ceil(images * repeats / batch size).
    """
    counts = Counter(item.bucket for item in items)
    return tuple(
        BucketFacts(width, height, images, math.ceil(images * dataset.num_repeats / dataset.batch_size))
        for (width, height), images in sorted(counts.items())
    )
