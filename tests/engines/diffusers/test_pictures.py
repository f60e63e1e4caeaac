"""Resizing and cropping as musubi-tuner does it."""

from pathlib import Path
from typing import Any

import pytest

from musabi.errors import RequestError


def pattern(width: int, height: int) -> Any:
    import numpy
    from PIL import Image

    rows, columns = numpy.mgrid[0:height, 0:width]
    channels = [(rows * 37 + columns * 53 + channel * 19) % 256 for channel in range(3)]
    return Image.fromarray(numpy.stack(channels, axis=-1).astype(numpy.uint8))


# The red channel that OpenCV 5.0 gave for resize(pattern, size, interpolation=INTER_AREA).
OPENCV = {
    ((7, 5), (4, 3)): [[38, 128, 183, 54], [97, 173, 110, 113], [156, 174, 82, 172]],
    ((9, 6), (3, 2)): [[90, 135, 152], [173, 104, 121]],
}


@pytest.mark.parametrize(("sizes", "wanted"), OPENCV.items())
def test_reducing_averages_the_covered_area_as_opencv_does(sizes: Any, wanted: list[list[int]]) -> None:
    import numpy

    from musabi.engines.diffusers.pictures import reduce_by_area

    given, size = sizes
    assert reduce_by_area(numpy.asarray(pattern(*given)), size)[:, :, 0].tolist() == wanted


def test_a_picture_covers_its_bucket_and_loses_its_borders() -> None:
    import numpy
    from PIL import Image

    from musabi.engines.diffusers.pictures import to_bucket

    picture = Image.new("RGB", (200, 100), (0, 0, 255))
    picture.paste((255, 0, 0), (50, 0, 150, 100))
    cut = to_bucket(picture, (48, 48))
    assert cut.shape == (48, 48, 3)
    assert numpy.unique(cut.reshape(-1, 3), axis=0).tolist() == [[255, 0, 0]]


def test_enlarging_is_lanczos() -> None:
    import numpy
    from PIL import Image

    from musabi.engines.diffusers.pictures import to_bucket

    picture = pattern(20, 30)
    wanted = numpy.asarray(picture.resize((64, 96), Image.Resampling.LANCZOS))[16:80]
    assert numpy.array_equal(to_bucket(picture, (64, 64)), wanted)


def test_a_picture_of_the_buckets_size_stays_as_it_is() -> None:
    import numpy

    from musabi.engines.diffusers.pictures import to_bucket

    assert numpy.array_equal(to_bucket(pattern(32, 16), (32, 16)), numpy.asarray(pattern(32, 16)))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "LA", "I;16"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    from PIL import Image

    from musabi.engines.diffusers.pictures import read_picture

    ending = "jpg" if mode == "CMYK" else "png"
    Image.new(mode, (32, 32)).save(tmp_path / f"a.{ending}")
    assert read_picture(tmp_path / f"a.{ending}", (16, 16)).shape == (16, 16, 3)


def test_exif_rotation_is_ignored(tmp_path: Path) -> None:
    from PIL import Image

    from musabi.engines.diffusers.pictures import read_picture

    picture = Image.new("RGB", (64, 32), (0, 255, 0))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg", (64, 32)).shape == (32, 64, 3)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    from musabi.engines.diffusers.pictures import read_picture

    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(RequestError, match=r"a\.png is not an image\. Replace or remove it\."):
        read_picture(tmp_path / "a.png", (16, 16))
