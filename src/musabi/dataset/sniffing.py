"""What a file really is that bears an image's name and is none, by its first bytes."""

from dataclasses import dataclass
from pathlib import Path

from musabi.dataset.convert_image import HEIC_BRANDS

FIRST_BYTES = 512


@dataclass(frozen=True)
class Sign:
    """`start` stands in a file at `offset` bytes, and the file is then `what`."""

    start: tuple[bytes, ...]
    what: str
    offset: int = 0


SIGNS = (
    Sign(tuple(b"ftyp" + brand for brand in HEIC_BRANDS), "is a HEIC picture under another name", 4),
    Sign((b"ftyp",), "is a video under another name", 4),
    Sign((b"\x1aE\xdf\xa3",), "is a video under another name"),
    Sign((b"version https://git-lfs",), "is a pointer of Git LFS, and the picture itself was not fetched"),
    Sign((b"<!doctype html", b"<html"), "is a web page, as a failed download leaves it"),
    Sign((b"%pdf",), "is a PDF under another name"),
    Sign((b"pk\3\4",), "is a zip under another name"),
    Sign((b"\xff\x0a", b"\0\0\0\x0cjxl "), "is a JPEG XL picture under another name"),
    Sign((b"<svg", b"<?xml"), "is an SVG drawing under another name"),
)


def what_it_is(file: Path) -> str:
    """Return what the file is where that is known and no image the trainer takes, else ""."""
    try:
        with file.open("rb") as opened:
            start = opened.read(FIRST_BYTES)
            size = opened.seek(0, 2)
    except OSError:
        return ""
    if not start:
        return "is empty"
    if not start.strip(b"\0"):
        return f"holds {size} bytes and begins with nothing but zeros, as a failed copy leaves it"
    if start[4:12] in (b"ftypavif", b"ftypavis"):
        return ""
    lowered = start.lower()
    for sign in SIGNS:
        if lowered.lstrip()[sign.offset :].startswith(tuple(one.lower() for one in sign.start)):
            return sign.what
    return ""
