"""The cell that brings a dataset in: a zip or a folder of the workspace, unpacked safely."""

from pathlib import Path

from musabi.dataset.config import ANY_MODEL, read_config
from musabi.dataset.incoming import Brought, in_words
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
    if path == UPLOAD and not any(one.is_file() for one in source.rglob("*")):
        say(f"{source} is empty. Images that lie in {target} are used as they are.")
        return
    _tell(unpack(source, target, say=say))


def images_folder() -> Path:
    """Return the folder that the dataset's images belong into: that of its first dataset."""
    try:
        return read_config(settings().dataset_config, ANY_MODEL).datasets[0].image_directory
    except (RequestError, IndexError):
        return settings().space.images


def _tell(brought: Brought) -> None:
    for line in in_words(brought):
        say(line)
