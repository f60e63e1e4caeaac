"""Cache files of this model in a dataset's cache folder that do not belong to its images as they are now.

The trainer takes every cache file of the model's architecture that it finds there, whichever images there
are (musubi-tuner v0.3.4, dataset/image_video_dataset.py).
"""

import re
from collections.abc import Iterable
from pathlib import Path

from musabi.dataset.finding import Finding, count, names
from musabi.dataset.items import Scan

_LATENTS = re.compile(r"(?P<key>.+)_(?P<size>\d{4,}x\d{4,})_(?P<model>[a-z0-9]+)\.safetensors")
_TEXT = re.compile(r"(?P<key>.+)_(?P<model>[a-z0-9]+)_te\.safetensors")
_CLIP = re.compile(r"_\d{5}-\d{3,}(-\d{4})?$")
"""What follows a video's stem: first frame, frames, and FramePack's section."""


def leftovers(scan: Scan) -> tuple[Path, ...]:
    """Return the cache files of images that are gone, or that have another size by now."""
    dataset = scan.dataset
    sizes = dict.fromkeys((path.stem for path, _ in scan.unreadable), "")
    sizes |= {item.key: f"{item.width:04d}x{item.height:04d}" for item in scan.items}
    found = []
    for path in sorted(dataset.cache_directory.glob(f"*_{dataset.architecture}*.safetensors")):
        match = _TEXT.fullmatch(path.name) or _LATENTS.fullmatch(path.name)
        if match is None or match["model"] != dataset.architecture:
            continue
        key = match["key"] if dataset.video is None else _CLIP.sub("", match["key"])
        size = match.groupdict().get("size") if dataset.video is None else None
        if key not in sizes or (size and sizes[key] and size != sizes[key]):
            found.append(path)
    return tuple(found)


def leftover_findings(scan: Scan) -> Iterable[Finding]:
    """Yield what to say of cache files that belong to no image as it is now."""
    files, folder = leftovers(scan), scan.dataset.cache_directory
    if files:
        yield Finding(
            "note",
            f"{count(len(files), 'cache file')} in {folder} of images that are gone or have another size now: "
            f"{names(files)}. Caching with musabi takes them away; the trainer alone would train on them.",
            folder,
        )
