"""Finds the images and captions of a dataset exactly as musubi-tuner does, and what it would pass over."""

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from musabi.dataset.buckets import bucket_for
from musabi.dataset.config import ImageDataset
from musabi.dataset.jsonl import read_jsonl

# Compared to the letter by the trainer: .Jpg is none of them (musubi-tuner v0.3.4, dataset/media_utils.py).
IMAGE_EXTENSIONS = frozenset(
    spelled
    for name in ("png", "jpg", "jpeg", "webp", "bmp", "avif")
    for spelled in (f".{name}", f".{name.upper()}")
)
OTHER_IMAGE_EXTENSIONS = frozenset(
    {
        ".gif",
        ".tif",
        ".tiff",
        ".heic",
        ".heif",
        ".jxl",
        ".jfif",
        ".jp2",
        ".tga",
        ".psd",
        ".svg",
        ".dng",
        ".ico",
    }
)
ORIENTATION_TAG = 0x0112
ROTATED = range(2, 9)
"""EXIF orientations other than upright (Exif 2.32, 4.6.4 A)."""


@dataclass(frozen=True)
class Item:
    """An image that will be trained on. `width` and `height` are the stored pixels, EXIF rotation ignored.

    `key` is the stem that names its cache files, `bucket` the (width, height) in pixels it is trained at.
    """

    image: Path
    key: str
    caption: str
    caption_file: Path | None
    width: int
    height: int
    bucket: tuple[int, int]


@dataclass(frozen=True)
class Scan:
    """What lies in a dataset. `items` are those with a caption and a header that can be read.

    `unreadable` holds (file, reason) of images and captions, `collisions` (key, files) of images that would
    share their cache files, `ignored` the image files and folders that the trainer passes over.
    """

    dataset: ImageDataset
    items: tuple[Item, ...] = ()
    without_caption: tuple[Path, ...] = ()
    empty_caption: tuple[Path, ...] = ()
    unreadable: tuple[tuple[Path, str], ...] = ()
    collisions: tuple[tuple[str, tuple[Path, ...]], ...] = ()
    rotated: tuple[Path, ...] = ()
    ignored: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    """An image with its caption; `reason` says why the caption can't be read."""

    image: Path
    caption: str | None
    caption_file: Path | None
    reason: str = ""


@dataclass
class _Found:
    items: list[Item] = field(default_factory=list)
    without_caption: list[Path] = field(default_factory=list)
    empty_caption: list[Path] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    rotated: list[Path] = field(default_factory=list)
    keys: dict[str, list[Path]] = field(default_factory=dict)


def scan(dataset: ImageDataset) -> Scan:
    """Look at every image of the dataset: header and caption only, no pixels.

    Raises:
        RequestError: a JSONL file that can't be read.
    """
    candidates, ignored = _from_directory(dataset) if dataset.jsonl is None else _from_jsonl(dataset.jsonl)
    found = _Found()
    for candidate in candidates:
        _look(candidate, dataset, found)
    return Scan(
        dataset=dataset,
        items=tuple(found.items),
        without_caption=tuple(found.without_caption),
        empty_caption=tuple(found.empty_caption),
        unreadable=tuple(found.unreadable),
        collisions=tuple((key, tuple(files)) for key, files in found.keys.items() if len(files) > 1),
        rotated=tuple(found.rotated),
        ignored=ignored,
    )


def _from_directory(dataset: ImageDataset) -> tuple[Iterable[_Candidate], tuple[Path, ...]]:
    """Return the images of a folder, not of its subfolders, and what else in it looks like images."""
    folder = dataset.image_directory
    with os.scandir(folder) as entries:
        listing = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    names = [name for name, _ in listing]
    cache = os.path.realpath(dataset.cache_directory)
    ignored = tuple(
        folder / name
        for name, is_folder in listing
        if Path(name).suffix not in IMAGE_EXTENSIONS
        and (os.path.realpath(folder / name) != cache if is_folder else _looks_like_an_image(name))
    )
    captions = {name for name in names if name.endswith(dataset.caption_extension)}
    images = (folder / name for name in names if Path(name).suffix in IMAGE_EXTENSIONS)
    return (_with_caption(image, dataset.caption_extension, captions) for image in images), ignored


def _looks_like_an_image(name: str) -> bool:
    suffix = Path(name).suffix.lower()
    return suffix in OTHER_IMAGE_EXTENSIONS or suffix in IMAGE_EXTENSIONS


def _with_caption(image: Path, extension: str, captions: set[str]) -> _Candidate:
    name = f"{image.stem}{extension}"
    if name not in captions:
        return _Candidate(image, None, None)
    file = image.with_name(name)
    try:
        return _Candidate(image, file.read_text(encoding="utf-8").strip(), file)
    except UnicodeDecodeError:
        return _Candidate(image, None, file, "is not UTF-8 text")
    except OSError as error:
        return _Candidate(image, None, file, f"can't be read: {error.strerror}")


def _from_jsonl(jsonl: Path) -> tuple[Iterable[_Candidate], tuple[Path, ...]]:
    return (_Candidate(image, caption, None) for image, caption in read_jsonl(jsonl)), ()


def _look(candidate: _Candidate, dataset: ImageDataset, found: _Found) -> None:
    image = candidate.image
    if candidate.reason and candidate.caption_file is not None:
        found.unreadable.append((candidate.caption_file, candidate.reason))
        return
    if candidate.caption is None:
        found.without_caption.append(image)
        return
    try:
        width, height, orientation = read_header(image)
    except (OSError, ValueError, SyntaxError) as error:
        found.unreadable.append((image, why_unreadable(error)))
        return
    if orientation in ROTATED:
        found.rotated.append(image)
    if not candidate.caption:
        found.empty_caption.append(candidate.caption_file or image)
    files = found.keys.setdefault(image.stem, [])
    files.append(image)
    if len(files) > 1:
        return
    bucket = bucket_for(width, height, dataset.resolution, dataset.enable_bucket, dataset.bucket_no_upscale)
    found.items.append(
        Item(image, image.stem, candidate.caption, candidate.caption_file, width, height, bucket)
    )


def read_header(image: Path) -> tuple[int, int, int]:
    """Return the stored width and height in pixels and the EXIF orientation (1: upright), without decoding.

    Raises:
        OSError, ValueError, SyntaxError: Pillow can't make an image of it.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a large picture or a torn EXIF block is no news here
        with Image.open(image) as opened:
            # The base class reads what the header held; PNG's own getexif would decode the picture.
            orientation = Image.Image.getexif(opened).get(ORIENTATION_TAG, 1)
            return opened.width, opened.height, orientation if isinstance(orientation, int) else 1


def why_unreadable(error: Exception) -> str:
    """Say in a few words what Pillow found wrong with an image."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "is not an image"
    if isinstance(error, Image.DecompressionBombError):
        return "has too many pixels"
    if isinstance(error, IsADirectoryError):
        return "is a folder"
    if isinstance(error, FileNotFoundError):
        return "is not there"
    if isinstance(error, OSError) and error.strerror:
        return f"can't be read: {error.strerror}"
    if "truncated" in str(error).lower():
        return "is cut off"
    return f"can't be decoded: {error}"
