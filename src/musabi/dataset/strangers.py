"""Finds other models' cache files in a dataset's cache folder: the trainer passes them over."""

import re
from pathlib import Path

from musabi.dataset.config import ImageDataset

# `stem_1024x0768_zi.safetensors` and `stem_zi_te.safetensors` (musubi-tuner v0.3.4, image_video_dataset.py).
_NAME = re.compile(r".+_(?:\d{4,}x\d{4,}_([a-z0-9]+)|([a-z0-9]+)_te)\.safetensors")


def strangers(dataset: ImageDataset) -> tuple[Path, ...]:
    """Return the files in the dataset's cache folder that were cached for another model."""
    try:
        names = sorted(path.name for path in dataset.cache_directory.iterdir())
    except OSError:
        return ()
    found = ((name, _NAME.fullmatch(name)) for name in names if name.endswith(".safetensors"))
    return tuple(
        dataset.cache_directory / name
        for name, match in found
        if match and (match[1] or match[2]) != dataset.architecture
    )
