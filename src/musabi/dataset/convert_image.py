"""Stores images that the trainer can't read in formats that it can, upright and with 8 bits a channel."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from musabi.dataset.incoming import Notes, Raw, kind_of
from musabi.dataset.items import why_unreadable
from musabi.dataset.opening import open_picture_file

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MOST_PIXELS = 178_956_970
"""Pillow refuses to decode more (twice Image.MAX_IMAGE_PIXELS), and with it the trainer."""

# Formats that photographs come in: JPEG keeps them small, while PNG keeps everything else as it is.
PHOTOGRAPHS = frozenset({"HEIF", "JPEG", "MPO", "JPEG2000"})
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


@dataclass(frozen=True)
class Ready:
    """A file as it goes into the dataset: `converted` where it is another than came in."""

    raw: Raw
    converted: bool = False


def make_ready(raw: Raw, folder: Path, notes: Notes) -> Ready | None:
    """Return the file as the trainer can read it, converted into `folder` where need be.

    None where it is an image that can't be used; `notes` says why.

    Raises:
        OSError: the disk is full.
    """
    kind = kind_of(raw.name)
    if kind not in ("image", "convert"):
        return Ready(_lower(raw))
    heic = _is_heic(raw.file)
    if heic:
        _register_heif()
    reason = _why_not(raw.file)
    if reason:
        notes.add(raw.name, reason)
        return None
    if kind == "image" and not heic:
        return Ready(_lower(raw))
    try:
        return Ready(_convert(raw, folder), converted=True)
    except OSError as error:
        if error.errno is not None:
            raise
        notes.add(raw.name, why_unreadable(error))
    except Exception as error:  # Pillow's decoders raise many kinds on broken files
        notes.add(raw.name, why_unreadable(error))
    return None


def _lower(raw: Raw) -> Raw:
    """Spell the extension in lower case: the trainer passes over `.Jpg`."""
    return Raw(str(raw.pure.with_suffix(raw.suffix)), raw.file)


def _why_not(file: Path) -> str:
    """Return why an image can't be used, by its header alone; "" where it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of half the size that is refused here
            with open_picture_file(file) as opened:
                pixels = opened.width * opened.height
    except Exception as error:  # Pillow's plugins raise many kinds on broken headers
        return why_unreadable(error)
    return f"has {pixels / 1e6:,.0f} million pixels, more than can be read" if pixels > MOST_PIXELS else ""


def _convert(raw: Raw, folder: Path) -> Raw:
    from PIL import ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torn EXIF blocks, which no one trains on
        with open_picture_file(raw.file) as opened:
            photograph = opened.format in PHOTOGRAPHS
            profile = opened.info.get("icc_profile")
            picture = eight_bits(ImageOps.exif_transpose(opened))
    picture.info = {}
    jpeg = photograph and picture.mode in ("RGB", "L")
    suffix = ".jpg" if jpeg else ".png"
    target = folder / f"{raw.file.name}{suffix}"
    # A profile of four colours does not fit the RGB picture that was made of them.
    keep = {"icc_profile": profile} if profile and picture.mode in ("RGB", "RGBA") else {}
    if jpeg:
        picture.save(target, "JPEG", quality=95, subsampling=0, **keep)
    else:
        picture.save(target, "PNG", **keep)
    return Raw(str(raw.pure.with_suffix(suffix)), target)


def eight_bits(picture: "Picture") -> "Picture":
    """Return the picture as L, RGB or RGBA; more than 8 bits a channel are scaled, not cut off."""
    if picture.mode.startswith(("I", "F")):
        wide = picture.convert("F")
        top = 65535.0 if picture.mode.startswith("I;16") else max(255.0, cast("float", wide.getextrema()[1]))
        return wide.point(lambda value: value * (255.0 / top)).convert("L")
    if picture.mode in ("L", "RGB", "RGBA"):
        return picture
    alpha = "A" in picture.getbands() or "transparency" in picture.info
    return picture.convert("RGBA" if alpha else "RGB")


def _is_heic(file: Path) -> bool:
    """Tell by the content: phones and messengers give such files the name .jpg (ISO 23008-12, ftyp box)."""
    with file.open("rb") as opened:
        start = opened.read(12)
    return start[4:8] == b"ftyp" and start[8:12] in HEIC_BRANDS


def _register_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
