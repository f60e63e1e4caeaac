"""Small pictures that travel inside the page."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Picture:
    """A thumbnail as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


def thumbnail(path: Path, edge: int) -> Picture | None:
    """Return the image at most `edge` pixels wide and high, or None where it can't be read.

    Stored pixels are shown as they are: like the trainer, this ignores EXIF rotation. Pictures of up to
    128 pixels stay lossless (PNG), larger ones become JPEG.
    """
    from PIL import Image

    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (edge, edge))
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    image.thumbnail((edge, edge))
    small = max(image.size) <= 128
    written = io.BytesIO()
    if small:
        image.save(written, "PNG", optimize=True)
    else:
        image.save(written, "JPEG", quality=82, optimize=True)
    text = base64.b64encode(written.getvalue()).decode("ascii")
    return Picture(f"data:image/{'png' if small else 'jpeg'};base64,{text}", image.width, image.height)
