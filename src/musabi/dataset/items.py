"""Finds the images and captions of a dataset exactly as musubi-tuner does, and what it would pass over."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path

from musabi.dataset.buckets import bucket_for
from musabi.dataset.candidates import Candidate, files_in, find
from musabi.dataset.config import ImageDataset
from musabi.dataset.control import trained_size
from musabi.dataset.extensions import IMAGE_EXTENSIONS
from musabi.dataset.frames import Clip, clips
from musabi.dataset.identity import Memory
from musabi.dataset.keys import Medium
from musabi.dataset.opening import open_picture_file
from musabi.dataset.strangers import strangers
from musabi.dataset.video import VideoHeader, read_video, why_no_video

ORIENTATION_TAG = 0x0112
ROTATED = range(2, 9)
"""EXIF orientations other than upright (Exif 2.32, 4.6.4 A)."""


@dataclass(frozen=True)
class Item:
    """An image or a video that will be trained on. `width` and `height` are the stored pixels, not turned.

    `key` is the stem that names its cache files, `bucket` the (width, height) in pixels it is trained at.
    `controls` are its control files, those of an image with their `control_sizes` in pixels as trained, and
    `layers` the images that are trained with it. Of a video `frames` are there at `fps` (None: not known),
    and `clips` are taken; `image` is its file, or the folder of its frames.
    """

    image: Path
    key: str
    caption: str
    caption_file: Path | None
    width: int
    height: int
    bucket: tuple[int, int]
    controls: tuple[Path, ...] = ()
    control_sizes: tuple[tuple[int, int], ...] = ()
    layers: tuple[Path, ...] = ()
    medium: Medium = "image"
    frames: int = 1
    fps: float | None = None
    clips: tuple[Clip, ...] = ()

    @property
    def lengths(self) -> tuple[int, ...]:
        """The frames of each piece that is trained on: one of one frame for an image."""
        return (1,) if self.medium == "image" else tuple(clip.frames for clip in self.clips)


@dataclass(frozen=True)
class Scan:
    """What lies in a dataset. `items` are those with a caption and a header that can be read.

    `unreadable` holds (file, reason) of images, videos and captions, `collisions` (key, files) of images
    that would share their cache files, `ignored` the files and folders that the trainer passes over,
    `faults` (file, reason) of those whose control images or layers are wrong, `rotated` the images and
    `turned` the videos that ask to be turned when shown, `held` the videos whose control video is shorter,
    `strangers` other models' cache files, and `orphans` caption files without a picture of their name.
    `named` counts what was looked at.
    """

    dataset: ImageDataset
    items: tuple[Item, ...] = ()
    without_caption: tuple[Path, ...] = ()
    empty_caption: tuple[Path, ...] = ()
    unreadable: tuple[tuple[Path, str], ...] = ()
    collisions: tuple[tuple[str, tuple[Path, ...]], ...] = ()
    rotated: tuple[Path, ...] = ()
    ignored: tuple[Path, ...] = ()
    faults: tuple[tuple[Path, str], ...] = ()
    turned: tuple[Path, ...] = ()
    held: tuple[Path, ...] = ()
    strangers: tuple[Path, ...] = ()
    orphans: tuple[Path, ...] = ()
    named: int = 0


@dataclass
class _Found:
    memory: Memory
    items: list[Item] = field(default_factory=list)
    without_caption: list[Path] = field(default_factory=list)
    empty_caption: list[Path] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    rotated: list[Path] = field(default_factory=list)
    turned: list[Path] = field(default_factory=list)
    held: list[Path] = field(default_factory=list)
    faults: list[tuple[Path, str]] = field(default_factory=list)
    keys: dict[str, list[Path]] = field(default_factory=dict)


def scan(dataset: ImageDataset, memory: Memory | None = None) -> Scan:
    """Look at every image or video of the dataset: header and caption only, no pixels.

    Videos that `memory` knows are not opened (None: nothing is known).

    Raises:
        RequestError: a JSONL file that can't be read.
    """
    listing = find(dataset)
    found = _Found(memory or Memory())
    for candidate in listing.candidates:
        _look(candidate, dataset, found)
    return Scan(
        dataset=dataset,
        items=tuple(found.items),
        without_caption=tuple(found.without_caption),
        empty_caption=tuple(found.empty_caption),
        unreadable=tuple(found.unreadable),
        collisions=tuple((key, tuple(files)) for key, files in found.keys.items() if len(files) > 1),
        rotated=tuple(dict.fromkeys(found.rotated)),
        ignored=listing.ignored,
        faults=tuple(found.faults),
        turned=tuple(dict.fromkeys(found.turned)),
        held=tuple(found.held),
        strangers=strangers(dataset),
        orphans=listing.orphans,
        named=len(listing.candidates),
    )


def _look(candidate: Candidate, dataset: ImageDataset, found: _Found) -> None:
    path = candidate.path
    if candidate.reason and candidate.caption_file is not None:
        found.unreadable.append((candidate.caption_file, candidate.reason))
        return
    if candidate.caption is None:
        found.without_caption.append(path)
        return
    if candidate.fault:
        found.faults.append((path, candidate.fault))
    item = (_image if dataset.medium == "image" else _video)(candidate, candidate.caption, dataset, found)
    if item is None:
        return
    if not candidate.caption:
        found.empty_caption.append(candidate.caption_file or path)
    files = found.keys.setdefault(path.stem, [])
    files.append(path)
    if len(files) == 1:
        found.items.append(item)


def _image(candidate: Candidate, caption: str, dataset: ImageDataset, found: _Found) -> Item | None:
    """Return the image as an item, or None where it or what belongs to it can't be used."""
    header = _header(candidate.path, found)
    others = [_header(path, found) for path in (*candidate.controls, *candidate.layers)]
    if header is None or None in others:
        return None
    width, height = header
    bucket = bucket_for(
        width,
        height,
        dataset.resolution,
        dataset.enable_bucket,
        dataset.bucket_no_upscale,
        dataset.bucket_step,
    )
    sizes = []
    for path, size in zip(candidate.controls, others, strict=False):
        try:
            sizes.append(trained_size(*(size or bucket), bucket, dataset.control, dataset.bucket_step))
        except ValueError as error:
            found.faults.append((path, f"can't be used: {error}"))
    return Item(
        candidate.path,
        candidate.path.stem,
        caption,
        candidate.caption_file,
        width,
        height,
        bucket,
        candidate.controls,
        tuple(sizes),
        candidate.layers,
    )


def _header(image: Path, found: _Found) -> tuple[int, int] | None:
    try:
        width, height, orientation = read_header(image)
    except (OSError, ValueError, SyntaxError) as error:
        found.unreadable.append((image, why_unreadable(error)))
        return None
    if orientation in ROTATED:
        found.rotated.append(image)
    return width, height


def _video(candidate: Candidate, caption: str, dataset: ImageDataset, found: _Found) -> Item | None:
    """Return the video as an item, or None where it or its control can't be read."""
    headers = [_video_header(path, found) for path in (candidate.path, *candidate.controls)]
    header = headers[0]
    if header is None or None in headers or dataset.video is None:
        return None
    if any(other is not None and other.frames < header.frames for other in headers[1:]):
        found.held.append(candidate.path)
    return Item(
        candidate.path,
        candidate.path.stem,
        caption,
        candidate.caption_file,
        header.width,
        header.height,
        bucket_for(header.width, header.height, dataset.resolution, True, False, dataset.bucket_step),
        candidate.controls,
        medium="video",
        frames=header.frames,
        fps=header.fps,
        clips=clips(header.frames, dataset.video),
    )


def _video_header(video: Path, found: _Found) -> VideoHeader | None:
    """Return what a video file holds, or a folder of frames: the size of its first, and their number."""
    try:
        if not video.is_dir():
            header = read_video(video, found.memory)
            if header.rotation:
                found.turned.append(video)
            return header
        frames = files_in(video, IMAGE_EXTENSIONS)
    except (OSError, ValueError) as error:
        found.unreadable.append((video, why_no_video(error)))
        return None
    if not frames:
        found.unreadable.append((video, "is a folder without images"))
        return None
    size = _header(frames[0], found)
    return VideoHeader(*size, len(frames), None) if size else None


def read_header(image: Path) -> tuple[int, int, int]:
    """Return the stored width and height in pixels and the EXIF orientation (1: upright), without decoding.

    Raises:
        OSError, ValueError, SyntaxError: Pillow can't make an image of it.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a large picture or a torn EXIF block is no news here
        with open_picture_file(image) as opened:
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
