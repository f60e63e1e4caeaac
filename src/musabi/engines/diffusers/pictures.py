"""Pictures resized and cropped to their bucket as musubi-tuner does it (v0.3.4, dataset/media_utils.py)."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musabi.dataset.items import why_unreadable
from musabi.dataset.opening import open_picture_file
from musabi.errors import RequestError

Pixels = NDArray[np.uint8]


def read_picture(path: Path, bucket: tuple[int, int]) -> Pixels:
    """Return the picture as [height, width, 3] uint8 RGB of the bucket's (width, height).

    EXIF rotation is ignored and transparency dropped, as musubi-tuner does.

    Raises:
        RequestError: the picture can't be decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_picture_file(path) as opened:
                picture = opened.copy() if opened.mode in ("RGB", "RGBA") else opened.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise RequestError(f"{path} {why_unreadable(error)}. Replace or remove it.") from error
    return to_bucket(picture, bucket)[:, :, :3].copy()


def to_bucket(picture: Any, bucket: tuple[int, int]) -> Pixels:  # noqa: ANN401 - PIL.Image
    """Resize a PIL picture so that it covers (width, height) and cut the middle out: [height, width, C].

    Enlarging is Lanczos (Pillow), reducing is the average over the covered area (OpenCV's INTER_AREA).
    """
    from PIL import Image

    width, height = bucket
    if picture.size == bucket:
        return np.asarray(picture)
    scale = max(width / picture.width, height / picture.height)
    size = (int(picture.width * scale + 0.5), int(picture.height * scale + 0.5))
    if scale > 1:
        pixels = np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
    else:
        pixels = reduce_by_area(np.asarray(picture), size)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return pixels[top : top + height, left : left + width]


def reduce_by_area(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Return `pixels` ([H, W, C]) reduced to (width, height): each new pixel averages the area it covers."""
    reduced = _average(_average(pixels.astype(np.float64), size[1], 0), size[0], 1)
    return np.clip(np.rint(reduced), 0, 255).astype(np.uint8)


def _average(values: NDArray[np.float64], count: int, axis: int) -> NDArray[np.float64]:
    """Average along one axis into `count` equal parts, border values counted by the share that is covered."""
    length = values.shape[axis]
    if count == length:
        return values
    sums = np.cumsum(values, axis=axis)
    sums = np.concatenate([np.zeros_like(np.take(sums, [0], axis)), sums], axis=axis)
    edges = np.arange(count + 1) * (length / count)
    whole = np.minimum(edges.astype(np.int64), length)
    after = np.minimum(whole + 1, length)
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    share = (edges - whole).reshape(shape)
    at_edges = np.take(sums, whole, axis) * (1 - share) + np.take(sums, after, axis) * share
    averages: NDArray[np.float64] = np.diff(at_edges, axis=axis) * (count / length)
    return averages
