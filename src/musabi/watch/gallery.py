"""The dataset as pictures with captions, as it lies there now."""

from dataclasses import dataclass
from pathlib import Path

from musabi.dataset.caches import open_memory
from musabi.dataset.config import ANY_MODEL, DatasetConfig, ImageDataset, read_config
from musabi.dataset.items import Scan, scan
from musabi.errors import MusabiError
from musabi.watch.pictures import Picture, thumbnail

THUMBNAIL_PX = 192


@dataclass(frozen=True)
class Tile:
    """One image of the dataset: `picture` is None where it can't be read. Sizes are in pixels."""

    name: str
    caption: str
    picture: Picture | None
    width: int
    height: int


@dataclass(frozen=True)
class Gallery:
    """`images` counts those with a caption (None: the dataset can't be read), `tiles` shows some of them."""

    tiles: tuple[Tile, ...] = ()
    images: int | None = None
    without_caption: int = 0
    resolution: str = ""
    remark: str | None = None

    @property
    def more(self) -> int:
        return (self.images or 0) - len(self.tiles)


def read_gallery(config_file: Path, most: int = 60) -> Gallery:
    """Return the first `most` images of the dataset that `config_file` describes.

    A dataset that is gone or can't be read is said in `remark`, never raised.
    """
    try:
        config = read_config(config_file, ANY_MODEL)
        scans = [scan(dataset, open_memory(dataset)) for dataset in config.datasets]
    except (MusabiError, OSError) as error:
        return Gallery(remark=f"The dataset can't be shown. {error}")
    items = [item for found in scans for item in found.items]
    tiles = tuple(
        Tile(
            item.image.name, item.caption or "", thumbnail(item.image, THUMBNAIL_PX), item.width, item.height
        )
        for item in items[:most]
    )
    return Gallery(
        tiles,
        len(items),
        sum(len(found.without_caption) for found in scans),
        _resolutions(config),
        _remark(scans),
    )


def _resolutions(config: DatasetConfig) -> str:
    return ", ".join(dict.fromkeys(_resolution(dataset) for dataset in config.datasets))


def _resolution(dataset: ImageDataset) -> str:
    width, height = dataset.resolution
    return f"{width} \u00d7 {height}" + (", in buckets" if dataset.enable_bucket else "")


def _remark(scans: list[Scan]) -> str | None:
    unreadable = sum(len(found.unreadable) for found in scans)
    if unreadable:
        return f"{unreadable} files could not be read; musabi check names them."
    return None
