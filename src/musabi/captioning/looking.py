"""Looks at pictures and videos for the captioning worker: frames, sizes, what is wrong with a file.

Like the worker it imports nothing of musabi, since it runs in the trainer's own environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SMALLEST_SIDE = 256
FRAMES_PER_SECOND = 2.0  # what both Qwen-VL families sample videos at (their video preprocessor configs)
FEWEST_FRAMES = 4
PAIR = 2  # frames that Qwen-VL joins into one patch in time (temporal_patch_size of both families)

# What may be opened, whatever a file's name says; the same as in musabi/dataset/opening.py, which says why.
PICTURES = (
    *("PNG", "JPEG", "MPO", "WEBP", "BMP", "DIB", "AVIF", "TIFF", "GIF"),
    *("HEIF", "JPEG2000", "PSD", "ICO", "PPM", "PCX", "TGA"),
)
VIDEO_OPTIONS = {
    "format_whitelist": (
        "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,flv,asf,mpegts,ogg,gif,"
        "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe"
    ),
    "protocol_whitelist": "file",
}


@dataclass
class Limits:
    """How much is done at a time: pictures in a batch, and the side of the square that has their pixels."""

    batch: int
    side: int
    frame_side: int

    def shrink(self, done_at_once: int) -> bool:
        """Halve the batch, or where it is one already the pixels; False where nothing is left to halve."""
        if done_at_once > 1:
            self.batch = max(1, done_at_once // 2)
            return True
        if max(self.side, self.frame_side) <= SMALLEST_SIDE:
            return False
        self.side = max(SMALLEST_SIDE, int(self.side / 2**0.5))
        self.frame_side = max(SMALLEST_SIDE, int(self.frame_side / 2**0.5))
        return True


@dataclass
class Seen:
    """A file as the model looks at it: one picture, or frames of a video with their times in seconds."""

    file: str
    frames: list[Any]
    times: list[float]

    @property
    def is_video(self) -> bool:
        return bool(self.times)


class Unreadable(Exception):  # noqa: N818 - a few words about a file
    """What is wrong with a file, in words for a person."""


def see(entry: dict[str, str], limits: Limits, most_frames: int) -> Seen:
    """Read a file: upright, in RGB, no larger than the limits say."""
    if entry["kind"] == "video":
        frames, times = video_frames(entry["file"], most_frames)
        return Seen(entry["file"], [fitted(frame, limits.frame_side) for frame in frames], times)
    from PIL import Image, ImageOps

    Image.init()
    with Image.open(entry["file"], formats=[name for name in PICTURES if name in Image.OPEN]) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    return Seen(entry["file"], [fitted(picture, limits.side)], [])


def fitted(picture: Any, side: int) -> Any:  # noqa: ANN401 - a Pillow image
    """Return the picture with at most side x side pixels, its shape kept."""
    scale = (side * side / (picture.width * picture.height)) ** 0.5
    if scale >= 1:
        return picture
    return picture.resize((max(1, int(picture.width * scale)), max(1, int(picture.height * scale))), 1)


def video_frames(file: str, most: int) -> tuple[list[Any], list[float]]:
    """Return frames spread evenly over a video, an even number of them, and their times in seconds.

    Two a second, at least FEWEST_FRAMES and at most `most`. The first pass only counts, it decodes nothing.
    """
    import av

    with av.open(file, options=dict(VIDEO_OPTIONS)) as container:
        stream = container.streams.video[0]
        stamps = sorted({packet.pts for packet in container.demux(stream) if packet.pts is not None})
        if not stamps:
            raise Unreadable("holds no frames")
        second = float(stream.time_base or 1)
    chosen = spread(stamps, frame_count((stamps[-1] - stamps[0]) * second, len(stamps), most))
    kept: dict[int, Any] = {}
    frame: Any
    with av.open(file, options=dict(VIDEO_OPTIONS)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            if frame.pts in chosen and frame.pts not in kept:
                kept[frame.pts] = frame.to_image()
            if len(kept) == len(set(chosen)):
                break
    found = [stamp for stamp in chosen if stamp in kept]
    if not found:
        raise Unreadable("can't be decoded")
    found += found[-1:] * (-len(found) % PAIR)
    return [kept[stamp] for stamp in found], [(stamp - stamps[0]) * second for stamp in found]


def frame_count(seconds: float, frames: int, most: int) -> int:
    """Return how many frames of a video to look at."""
    wanted = max(FEWEST_FRAMES, round(seconds * FRAMES_PER_SECOND))
    return max(1, min(wanted, most, frames))


def spread(values: list[int], count: int) -> list[int]:
    """Return `count` of the values, evenly spread from the first to the last."""
    if count == 1:
        return values[:1]
    return [values[round(number * (len(values) - 1) / (count - 1))] for number in range(count)]


def why(error: Exception) -> str:
    """Say in a few words what is wrong with a file."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "is not an image"
    if type(error).__module__.startswith("av"):
        return "is no video that can be read, or is cut off"
    if isinstance(error, Image.DecompressionBombError):
        return "has too many pixels"
    if isinstance(error, FileNotFoundError):
        return "is not there"
    if "truncated" in str(error).lower():
        return "is cut off"
    if isinstance(error, ImportError):
        return f"needs a package that the trainer's environment lacks: {error.name or error}"
    words = " ".join(str(error).split())[:200]
    return f"can't be captioned: {words}"
