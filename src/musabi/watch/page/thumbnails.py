"""Small pictures of a dataset, made once, when a browser asks for them, and kept on the container's disk.

They are made by two threads of the lowest priority, so that a training keeps its cores.
"""

import contextlib
import hashlib
import itertools
import os
import tempfile
import threading
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from musabi.dataset.convert_image import eight_bits
from musabi.dataset.extensions import IMAGE_EXTENSIONS, OTHER_IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from musabi.dataset.first_frame import write_first_frame
from musabi.dataset.upright import decoded
from musabi.errors import RequestError
from musabi.watch.page.inside import inside
from musabi.whole import replacing

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

EDGE = 256
"""The longer side, in pixels."""
QUALITY = 80
MOST_BYTES = 200_000_000
"""On the disk; the oldest go first."""
MOST_FILE_BYTES = 500_000_000
"""A picture is read whole; a larger file is none, whatever its name says."""
AT_ONCE = 2
LEAST_URGENT = 19
SWEEP_EVERY = 64
_made = itertools.count(1)
VIDEOS = frozenset(VIDEO_EXTENSIONS)
SHOWN = IMAGE_EXTENSIONS | OTHER_IMAGE_EXTENSIONS | VIDEOS
KINDS: Mapping[str, str] = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".avif": "image/avif",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
}
"""What a browser shows itself, by ending. No SVG: it may hold script."""


def picture_file(root: Path, name: str) -> Path:
    """Return the picture or video of that name below a workspace.

    Raises:
        RequestError: there is none, or the name leads elsewhere.
    """
    path = inside(root, name)
    if path.suffix.lower() not in SHOWN or not path.is_file():
        raise RequestError("There is no such picture.")
    return path


def kept_file(folder: Path, picture: Path, edge: int = EDGE) -> Path:
    """Return where the small picture (`edge` pixels on its longer side) of a picture, as that is now, is kept.

    Raises:
        RequestError: the picture is gone.
    """
    try:
        found = picture.stat()
    except OSError:
        raise RequestError("There is no such picture.") from None
    of = f"{edge} {QUALITY} {found.st_size} {found.st_mtime_ns} {picture}"
    return folder / f"{hashlib.sha256(of.encode('utf-8', 'surrogateescape')).hexdigest()[:40]}.jpg"


def begin(picture: Path, target: Path, edge: int = EDGE) -> "Future[None]":
    """Start making a small picture, as soon as fewer than AT_ONCE are being made."""
    return _pool().submit(_make, picture, target, edge)


def _make(picture: Path, target: Path, edge: int) -> None:
    if target.is_file():  # asked for twice, and made meanwhile
        return
    make_thumbnail(picture, target, edge)
    if next(_made) % SWEEP_EVERY == 0:
        sweep(target.parent, MOST_BYTES)


def make_thumbnail(picture: Path, target: Path, edge: int = EDGE) -> None:
    """Write a picture of at most `edge` pixels of an image or of a video's first frame, turned as the trainer sees it.

    The trainers ignore the EXIF tag that sets a photo upright, so this does as well: what lies on its side in the
    grid is learned on its side, and the check's finding on it says how to mend it.

    Raises:
        RequestError: it can't be read.
        OSError: the small picture can't be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = _first_frame(picture) if picture.suffix in VIDEOS else _decoded(picture, edge)
            small = _small(whole, edge)
    except Exception as problem:  # Pillow's decoders raise many kinds on broken files
        raise RequestError("This picture can't be read.") from problem
    with replacing(target, sync=False) as part:
        small.save(part, "JPEG", quality=QUALITY)


def _small(picture: "Picture", edge: int) -> "Picture":
    from PIL import Image

    picture = eight_bits(picture)
    if "transparency" in picture.info or picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA")
    picture.thumbnail((edge, edge))
    if "A" in picture.getbands():
        clear = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return picture.convert("RGB")


def _decoded(image: Path, edge: int) -> "Picture":
    if image.stat().st_size > MOST_FILE_BYTES:
        raise ValueError(f"{image} is too large for a picture")
    return decoded(image, draft=edge)


def _first_frame(video: Path) -> "Picture":
    with tempfile.TemporaryDirectory() as folder:
        frame = Path(folder) / "frame.png"
        write_first_frame(video, frame)
        return decoded(frame)


def sweep(folder: Path, most_bytes: int) -> None:
    """Remove the oldest small pictures until a tenth of the room is free again, where they are too many."""
    kept = []
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            found = entry.stat()
            kept.append((found.st_mtime_ns, found.st_size, entry.path))
    total = sum(size for _, size, _ in kept)
    if total <= most_bytes:
        return
    for _, size, path in sorted(kept):
        if total <= most_bytes * 0.9:
            return
        with contextlib.suppress(OSError):
            Path(path).unlink()
            total -= size


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="thumbnail", initializer=_step_back)


def _step_back() -> None:
    with contextlib.suppress(OSError):  # on Linux a priority is a thread's
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LEAST_URGENT)
