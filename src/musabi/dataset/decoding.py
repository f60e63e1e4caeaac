"""Decodes pictures as far as it takes to know that training can, and notes what is odd about each.

A JPEG is decoded at an eighth of its size and in grey (libjpeg's scaled decoding): every byte of it is read
and unpacked, so a file that is cut off fails here as it would while training, but little is computed.
"""

import hashlib
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from musabi.dataset.items import ORIENTATION_TAG, ROTATED, why_unreadable
from musabi.dataset.opening import open_picture_file
from musabi.dataset.sniffing import what_it_is

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageFile import ImageFile

HASH_SIZE = (9, 8)
"""Pixels, wide and high, that a perceptual hash is made of: 8 x 8 comparisons."""
LEAST_CONTRAST = 8
"""Levels of grey, of 256, between which a picture is too even for its hash to mean anything."""
STEP_UP = 1
"""Levels by which a pixel must be brighter than its left neighbour, so that noise flips no bit."""
BROKEN_OFF = "ends in nothing but zeros, as a copy that was broken off leaves it"
ZEROS = 512
"""Zero bytes at the end of a JPEG that are too many for chance."""
NOT_ANIMATED = "MPO"
"""A phone's JPEG with a preview or a depth map behind it; its further frames are no animation."""


@dataclass(frozen=True)
class Looked:
    """What decoding found. `reason` says why it failed, "" where it did not; then the rest means something.

    `form` and `mode` are Pillow's names. `turned`: an EXIF tag turns it. `clear`: some pixel is transparent.
    `dhash` is a perceptual hash of 64 bits (None: too even for one), `sha256` that of the file in hex.
    """

    reason: str = ""
    form: str = ""
    mode: str = ""
    frames: int = 1
    turned: bool = False
    clear: bool = False
    dhash: int | None = None
    sha256: str = ""


def workers() -> int:
    """Return how many threads decode: one more than cores, since each also waits for the disk.

    Pillow releases the interpreter's lock while it decodes, so threads share the work as processes do.
    """
    return len(os.sched_getaffinity(0)) + 1


def look_at(images: Iterable[Path]) -> Iterator[tuple[Path, Looked]]:
    """Yield each image with what decoding found, in their order. At most a few pictures are in memory.

    Stopping early ends after the pictures that are being decoded.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of torn EXIF blocks, which no one trains on
        pool = ThreadPoolExecutor(workers())
        waiting: deque[tuple[Path, Future[Looked]]] = deque()
        try:
            for image in images:
                waiting.append((image, pool.submit(look, image)))
                if len(waiting) > 2 * workers():
                    first, found = waiting.popleft()
                    yield first, found.result()
            for first, found in waiting:
                yield first, found.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def look(image: Path) -> Looked:
    """Read and decode one image."""
    try:
        data = image.read_bytes()
        with open_picture_file(BytesIO(data)) as opened:
            _refuse_heic(opened)
            looked = _looked(opened, data)
        return Looked(reason=BROKEN_OFF) if looked.form == "JPEG" and ends_in_zeros(data) else looked
    except Exception as error:  # Pillow's decoders raise many kinds on broken files
        return Looked(reason=what_it_is(image) or why_unreadable(error))


def _refuse_heic(opened: "ImageFile") -> None:
    """Refuse what Pillow reads here, with pillow-heif, but not where the trainer runs.

    Raises:
        UnidentifiedImageError: it is HEIC.
    """
    from PIL import UnidentifiedImageError

    if opened.format == "HEIF":
        raise UnidentifiedImageError


def _looked(opened: "ImageFile", data: bytes) -> Looked:
    mode = opened.mode
    frames = 1 if opened.format == NOT_ANIMATED else int(getattr(opened, "n_frames", 1))
    opened.draft("L", (1, 1))
    opened.decodermaxblock = len(data)  # in one go, which keeps the lock released for longer
    opened.load()
    return Looked(
        form=opened.format or "",
        mode=mode,
        frames=frames,
        # Only now: in a PNG the tag may come after the pixels.
        turned=opened.getexif().get(ORIENTATION_TAG) in ROTATED,
        clear=is_clear(opened),
        dhash=difference_hash(opened),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def ends_in_zeros(data: bytes) -> bool:
    """Tell whether zeros stand in place of a JPEG's end, which decoders take for grey without a word.

    After its end mark (FF D9) any padding is harmless.
    """
    return not data[-ZEROS:].strip(b"\0") and not data.rstrip(b"\0").endswith(b"\xff\xd9")


def is_clear(picture: "Picture") -> bool:
    """Tell whether some pixel is not opaque."""
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    if "A" not in picture.getbands():
        return False
    darkest, _ = picture.getchannel("A").getextrema()
    return isinstance(darkest, int | float) and darkest < 255


def difference_hash(picture: "Picture") -> int | None:
    """Return 64 bits, each telling whether a pixel of a 9 x 8 copy is brighter than its left neighbour.

    Two pictures that look alike differ in few bits, whatever their size or format (dHash, N. Krawetz,
    hackerfactor.com, 2013). None where the picture has next to no contrast.
    """
    from PIL import Image

    plain = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
    grey = plain.resize(HASH_SIZE, Image.Resampling.BOX).convert("L").tobytes()
    if max(grey) - min(grey) < LEAST_CONTRAST:
        return None
    width, height = HASH_SIZE
    bits = 0
    for row in range(height):
        for column in range(width - 1):
            left, right = grey[row * width + column : row * width + column + 2]
            bits = bits << 1 | (right > left + STEP_UP)
    return bits
