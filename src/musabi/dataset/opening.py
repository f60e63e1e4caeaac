"""Opens pictures and videos that nobody vouches for, as what a dataset may hold and as nothing else.

A file's content decides what reads it, whatever its name says. Pillow's readers include one that has Ghostscript
run the file (EPS), the video library's include playlists that name other files and addresses.
"""

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

PICTURES = (
    *("PNG", "JPEG", "MPO", "WEBP", "BMP", "DIB", "AVIF", "TIFF", "GIF"),
    *("HEIF", "JPEG2000", "PSD", "ICO", "PPM", "PCX", "TGA"),
)
"""Pillow's names of the formats behind the endings of incoming.py. None of their readers starts a program. TGA is last:
it has no sign of its own."""
VIDEOS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,flv,asf,mpegts,ogg,gif,"
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe"
)
"""ffmpeg's names of the formats behind the endings of extensions.py, and pictures; no playlists."""
VIDEO_OPTIONS = {"format_whitelist": VIDEOS, "protocol_whitelist": "file"}


def open_picture_file(source: Path | IO[bytes]) -> "ImageFile":
    """Return Pillow's picture of a file, its header read; close it after use.

    Raises:
        UnidentifiedImageError: it is none of PICTURES. Besides, what Pillow raises.
    """
    from PIL import Image

    Image.init()  # a format that Pillow has not loaded would be passed over
    return Image.open(source, formats=[name for name in PICTURES if name in Image.OPEN])


def open_video_file(video: Path | str) -> Any:  # noqa: ANN401 - av.container.InputContainer
    """Return PyAV's container of a file, its header read; close it after use.

    Raises:
        FFmpegError: it is none of VIDEOS, names other files, or can't be read.
    """
    import av

    return av.open(str(video), options=dict(VIDEO_OPTIONS))
