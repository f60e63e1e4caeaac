"""Small pictures of a dataset for a page, as the trainer sees them."""

import base64
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

from musabi.dataset.decoding import workers
from musabi.dataset.upright import decoded

QUALITY = 78


def thumbnails(images: Iterable[Path], edge: int) -> dict[Path, str]:
    """Return a data URI for each image, at most `edge` pixels wide and high; "" where it can't be read."""
    wanted = list(dict.fromkeys(images))
    with warnings.catch_warnings(), ThreadPoolExecutor(workers()) as pool:
        warnings.simplefilter("ignore")
        return dict(zip(wanted, pool.map(lambda image: thumbnail(image, edge), wanted), strict=True))


def thumbnail(image: Path, edge: int) -> str:
    """Return one image as a data URI: not turned by its EXIF tag and without its transparency, as trained."""
    try:
        picture = decoded(image, draft=edge).convert("RGB")
        picture.thumbnail((edge, edge))
    except Exception:  # Pillow's decoders raise many kinds on broken files
        return ""
    written = BytesIO()
    picture.save(written, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode('ascii')}"
