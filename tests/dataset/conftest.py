"""Small datasets drawn by Pillow in a temporary folder."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from musabi.dataset.config import DatasetConfig, read_config

ORIENTATION = 0x0112


@dataclass
class Folder:
    """A dataset on disk: images, a cache folder, and the TOML that names them."""

    root: Path

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def toml(self) -> Path:
        return self.root / "dataset.toml"

    def add(
        self,
        name: str,
        size: tuple[int, int] = (64, 64),
        caption: str | None = "ohwx {stem}",
        orientation: int = 1,
        color: str = "navy",
    ) -> Path:
        """Draw an image of `size` pixels, with a caption file unless `caption` is None."""
        path = self.images / name
        picture = Image.new("RGB", size, color)
        picture.paste("white", (0, 0, size[0] // 2, size[1] // 4 or 1))
        exif = Image.Exif()
        if orientation != 1:
            exif[ORIENTATION] = orientation
        picture.save(path, exif=exif.tobytes() if orientation != 1 else b"")
        if caption is not None:
            path.with_suffix(".txt").write_text(caption.format(stem=path.stem), encoding="utf-8")
        return path

    def config(self, **options: Any) -> DatasetConfig:
        """Write the TOML (64 x 64 pixels, buckets on, and `options`) and read it."""
        values = {
            "resolution": 64,
            "caption_extension": ".txt",
            "enable_bucket": True,
            **options,
        }
        lines = [f"{name} = {_toml(value)}" for name, value in values.items()]
        self.toml.write_text(
            "\n".join(
                [
                    "[[datasets]]",
                    *lines,
                    f'image_directory = "{self.images}"',
                    f'cache_directory = "{self.cache}"\n',
                ]
            ),
            encoding="utf-8",
        )
        return read_config(self.toml)


def write_tensors(path: Path, size: int = 16) -> None:
    """Write a whole safetensors file with `size` bytes of tensors."""
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))


def draw_video(
    path: Path,
    frames: int = 24,
    size: tuple[int, int] = (96, 64),
    fps: int = 16,
    codec: str = "mpeg4",
    caption: str | None = "ohwx {stem}",
    **how: Any,
) -> Path:
    """Encode a video of `frames` frames that grow brighter, with a caption file unless `caption` is None.

    `how` may have `rotation` in degrees, and `options` for the container.
    """
    import av

    with av.open(str(path), "w", options=how.get("options", {})) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if how.get("rotation"):
            stream.set_display_rotation(how["rotation"])
        for number in range(frames):
            grey = Image.new("RGB", size, (number % 256,) * 3)
            container.mux(stream.encode(av.VideoFrame.from_image(grey)))
        container.mux(stream.encode())
    if caption is not None:
        path.with_suffix(".txt").write_text(caption.format(stem=path.stem), encoding="utf-8")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "data")
    made.images.mkdir(parents=True)
    made.cache.mkdir()
    return made


@pytest.fixture
def make_video() -> Callable[..., Path]:
    return draw_video


@pytest.fixture
def tensors() -> Callable[[Path], None]:
    return write_tensors


@pytest.fixture
def write_toml(tmp_path: Path) -> Callable[[str], Path]:
    """Write a dataset TOML; {images} and {cache} in it become folders, of which images is there."""
    (tmp_path / "images").mkdir()

    def write(text: str) -> Path:
        path = tmp_path / "dataset.toml"
        filled = text.replace("{images}", str(tmp_path / "images")).replace(
            "{cache}", str(tmp_path / "cache")
        )
        path.write_text(filled, encoding="utf-8")
        return path

    return write
