"""The endings of files that the trainer takes, to the letter: .Jpg and .Mp4 are none of them.

musubi-tuner v0.3.4, dataset/media_utils.py.
"""

IMAGE_EXTENSIONS = frozenset(
    spelled
    for name in ("png", "jpg", "jpeg", "webp", "bmp", "avif")
    for spelled in (f".{name}", f".{name.upper()}")
)
_VIDEOS = (".mp4", ".webm", ".avi", ".mkv", ".mov", ".flv", ".wmv", ".m4v", ".mpg", ".mpeg")
VIDEO_EXTENSIONS = (*_VIDEOS, *(name.upper() for name in _VIDEOS))
"""In the order that the trainer tries them in."""
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
OTHER_VIDEO_EXTENSIONS = frozenset({".gif", ".ts", ".mts", ".m2ts", ".ogv", ".3gp", ".vob", ".mxf"})
