"""Stores images upright that only their EXIF tag turns, because the trainer ignores that tag."""

import filecmp
import itertools
import shutil
from pathlib import Path
from typing import Any

from musabi import whole
from musabi.errors import MachineError

ORIGINALS = "originals"

# How to write each format with as little loss as it allows; MPO is what phones call a JPEG with a preview.
SAVING: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("JPEG", {"quality": 95, "subsampling": 0}),
    "MPO": ("JPEG", {"quality": 95, "subsampling": 0}),
    "WEBP": ("WEBP", {"lossless": True}),
    "AVIF": ("AVIF", {"quality": 95, "subsampling": "4:4:4"}),
}


def fix_rotation(image: Path) -> Path:
    """Replace the image by an upright one, without EXIF, and return where the original was kept.

    That is `originals/NAME OF THE IMAGE FOLDER/` beside the image folder. A kill at any moment leaves the
    image either as it was or upright with its original kept, and doing it again is harmless.

    Raises:
        MachineError: the folder can't be written or the image can't be read.
    """
    try:
        kept = _keep(image)
        _write_upright(image)
    except OSError as error:
        raise MachineError(
            f"{image} could not be stored upright: {error.strerror or error}. Turn it in an image editor."
        ) from None
    return kept


def _keep(image: Path) -> Path:
    """Copy the image to the originals, never over another file that lies there."""
    folder = image.parent.with_name(ORIGINALS) / image.parent.name
    for number in itertools.count(1):
        kept = folder / (image.name if number == 1 else f"{image.stem}-{number}{image.suffix}")
        if not kept.exists():
            with whole.replacing(kept) as part:
                shutil.copyfile(image, part)
            return kept
        if filecmp.cmp(image, kept, shallow=False):
            return kept
    raise AssertionError("the count never ends")


def _write_upright(image: Path) -> None:
    from PIL import Image, ImageOps

    with Image.open(image) as opened:
        upright = ImageOps.exif_transpose(opened)
        form, options = SAVING.get(opened.format or "", (opened.format or "PNG", {}))
        profile = opened.info.get("icc_profile")
    upright.info = {name: value for name, value in upright.info.items() if name == "transparency"}
    with whole.replacing(image, image.stat().st_mode & 0o777) as part:
        upright.save(part, format=form, icc_profile=profile, **options)
