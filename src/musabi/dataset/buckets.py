"""The bucket of an image and the batches of an epoch, exactly as musubi-tuner v0.3.4 chooses them."""

import math
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, Protocol

from musabi.job.facts import BucketFacts

STEP = 16
"""Sides of most models' buckets are multiples of this, in pixels (musubi-tuner, dataset/bucket.py)."""

Size = tuple[int, int]


CONTROL_GRAIN = 8
"""Pixels of a control image that make one of its latents: batches are kept apart by the size of those."""


class Bucketed(Protocol):
    """An item with its bucket, (width, height) in pixels, and the sizes in pixels of its control images.

    `lengths` are the frames of each of its clips: one clip of one frame for an image.
    """

    @property
    def bucket(self) -> Size: ...
    @property
    def control_sizes(self) -> tuple[Size, ...]: ...
    @property
    def lengths(self) -> tuple[int, ...]: ...


class Batching(Protocol):
    """What a dataset says about batches and, for videos, buckets: those are cached in buckets always.

    `sections(frames)` are the cache files that a clip is kept in; each is trained on by itself.
    """

    @property
    def batch_size(self) -> int: ...
    @property
    def num_repeats(self) -> int: ...
    @property
    def medium(self) -> Literal["image", "video"]: ...
    @property
    def resolution(self) -> Size: ...
    @property
    def enable_bucket(self) -> bool: ...
    @property
    def bucket_no_upscale(self) -> bool: ...
    @property
    def bucket_step(self) -> int: ...
    def sections(self, frames: int) -> int: ...


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


def bucket_of_area(width: int, height: int, area: int, step: int = STEP) -> Size:
    """Return the size of about `area` pixels that a control image of `width` x `height` is given, in pixels.

    Of five widths around the right one, in multiples of the step, the one nearest in aspect ratio is taken,
    the narrowest of equals.

    Raises:
        ValueError: the image is so narrow or flat that a side would be 0, where the trainer stops.
    """
    aspect = width / height
    middle = int(math.sqrt(area * aspect))
    candidates = [middle - middle % step + shift * step for shift in range(-2, 3)]
    try:
        sizes = [(each, area // each - (area // each) % step) for each in candidates]
        return min(sizes, key=lambda size: abs(size[0] / size[1] - aspect))
    except ZeroDivisionError:
        raise ValueError(f"{width}x{height} pixels is too narrow for control_resolution") from None


def buckets(items: Iterable[Bucketed], dataset: Batching) -> tuple[BucketFacts, ...]:
    """Return the buckets of a dataset, narrowest first, with the batches that an epoch takes from each.

    A batch never mixes buckets, clip lengths, or sizes or numbers of control images, and the last of such a
    group may be smaller: ceil(cache files * repeats / batch size). `images` counts images, clips of videos,
    or sections of clips.
    """
    groups: Counter[tuple[Size, int, tuple[Size, ...]]] = Counter()
    for item in items:
        size = _trained_in(item.bucket, dataset)
        control = tuple(
            (width // CONTROL_GRAIN, height // CONTROL_GRAIN) for width, height in item.control_sizes
        )
        for frames in item.lengths:
            groups[size, frames, control] += dataset.sections(frames)
    images: Counter[tuple[Size, int]] = Counter()
    batches: Counter[tuple[Size, int]] = Counter()
    largest: Counter[tuple[Size, int]] = Counter()
    for (size, frames, _), files in groups.items():
        repeated = files * dataset.num_repeats
        images[size, frames] += files
        batches[size, frames] += math.ceil(repeated / dataset.batch_size)
        largest[size, frames] = max(largest[size, frames], min(repeated, dataset.batch_size))
    return tuple(
        BucketFacts(*size, count, batches[size, frames], frames, largest[size, frames])
        for (size, frames), count in sorted(images.items())
        if count
    )


def _trained_in(bucket: Size, dataset: Batching) -> Size:
    """Return the bucket of a cached item: training sorts videos anew, by the size they were cached in."""
    if dataset.medium == "image":
        return bucket
    return bucket_for(
        *bucket, dataset.resolution, dataset.enable_bucket, dataset.bucket_no_upscale, dataset.bucket_step
    )
