"""Which images are the layers of another, exactly as musubi-tuner v0.3.4 finds them (datasources.py)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from musabi.dataset.control import Matched, in_order


def match_targets(images: Iterable[Path], bare: Iterable[Path]) -> Matched:
    """Give each image with a caption its layers: images without one, of its stem with `_` and a number.

    Longer names choose first. All images must have the same number of layers.
    """
    left = set(bare)
    files: dict[Path, tuple[Path, ...]] = {}
    faults: dict[Path, str] = {}
    for image in sorted(images, key=lambda path: len(path.name), reverse=True):
        own = sorted(path for path in left if path.name.startswith(f"{image.stem}_"))
        left.difference_update(own)
        try:
            files[image] = tuple(in_order(image.stem, own))
        except ValueError as error:
            faults[image] = str(error)
    return Matched(files, {**faults, **uneven(files)})


def uneven(files: Mapping[Path, tuple[Path, ...]]) -> Mapping[Path, str]:
    """Return the images whose number of layers is not that of most."""
    numbers = Counter(len(layers) for layers in files.values() if layers)
    usual = numbers.most_common(1)[0][0] if numbers else 1
    return {
        image: f"has {len(layers)} layers where others have {usual}"
        if layers
        else f"has no layers such as {image.stem}_0{image.suffix}"
        for image, layers in files.items()
        if len(layers) != usual or not layers
    }
