"""The cell that brings a dataset in: a zip or a folder of the workspace, unpacked safely."""

from dataclasses import replace
from pathlib import Path

from musabi.dataset.archive import is_archive
from musabi.dataset.config import read_config
from musabi.dataset.incoming import Brought, in_words, kind_of
from musabi.dataset.unpack import unpack
from musabi.errors import RequestError
from musabi.notebook.chosen import settings
from musabi.notebook.output import say
from musabi.notebook.plain import cell

UPLOAD = "upload"


@cell
def bring_in(path: str = UPLOAD) -> None:
    """Bring a zip, a folder or an image of the workspace into the dataset; what is there already stays as it is.

    `path` is taken from the workspace. Of the folder `upload`, every zip and every image is brought in.

    Example: musabi.bring_in("upload/photos.zip")
    """
    source, target = settings().workspace / path, images_folder()
    if path == UPLOAD and not source.exists():
        source.mkdir(parents=True)
    archives = _archives(source)
    loose = _has_loose_files(source, archives)
    if path == UPLOAD and not archives and not loose:
        say(f"{source} is empty. Images that lie in {target} are used as they are.")
        return
    for archive in archives:
        say(f"{archive.name}:")
        _tell(unpack(archive, target, say=say))
    if loose:
        brought = unpack(source, target, say=say)
        taken = {archive.name for archive in archives}
        _tell(replace(brought, left_out=tuple(one for one in brought.left_out if one.name not in taken)))


def images_folder() -> Path:
    """Return the folder that the dataset's images belong into: that of its first dataset."""
    try:
        return read_config(settings().dataset_config).datasets[0].image_directory
    except (RequestError, IndexError):
        return settings().space.images


def _archives(source: Path) -> list[Path]:
    """Return the archives that `source` is, or that lie in it."""
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    return [path for path in files if path.is_file() and kind_of(path.name) != "image" and is_archive(path)]


def _has_loose_files(source: Path, archives: list[Path]) -> bool:
    """Tell whether there is anything besides the archives to bring in."""
    if not source.is_dir():
        return source not in archives
    return any(path.is_file() and path not in archives for path in source.rglob("*"))


def _tell(brought: Brought) -> None:
    for line in in_words(brought):
        say(line)
