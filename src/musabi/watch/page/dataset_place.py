"""The folders that the dataset TOML names: where images are brought in, and where they are taken out."""

from dataclasses import dataclass
from pathlib import Path

from musabi.dataset.config import ANY_MODEL, read_config
from musabi.errors import RequestError
from musabi.watch.page.scene import Scene
from musabi.watch.page.stamp import NONE, stamp_of

KEPT = "dataset folders"
USUAL_EXTENSION = ".txt"


@dataclass(frozen=True)
class DatasetFolder:
    """A folder of images or videos, and what its caption files end in; `jsonl` holds its captions instead."""

    path: Path
    caption_extension: str = USUAL_EXTENSION
    jsonl: Path | None = None


def dataset_folders(scene: Scene) -> tuple[DatasetFolder, ...]:
    """Return the folders of the dataset TOML, or the usual one where it can't be read."""
    file = scene.settings.dataset_config
    stamp = stamp_of(file)
    if stamp == NONE:
        return (DatasetFolder(scene.space.images),)
    kept = scene.memory.get(KEPT)
    if kept is None or kept[0] != stamp:
        kept = scene.memory[KEPT] = (stamp, _read(scene, file))
    found: tuple[DatasetFolder, ...] = kept[1]
    return found


def _read(scene: Scene, file: Path) -> tuple[DatasetFolder, ...]:
    try:
        datasets = read_config(file, ANY_MODEL).datasets
    except (RequestError, OSError):
        return (DatasetFolder(scene.space.images),)
    found = {one.image_directory: one for one in datasets}
    return tuple(
        DatasetFolder(path, one.caption_extension or USUAL_EXTENSION, one.jsonl)
        for path, one in found.items()
    )


def main_folder(scene: Scene) -> DatasetFolder:
    """Return the folder that new images are brought into: the first that a person keeps as a folder."""
    folders = dataset_folders(scene)
    return next((one for one in folders if one.jsonl is None), DatasetFolder(scene.space.images))


def name_of(scene: Scene, path: Path) -> str:
    """Return a file's name below the workspace, as the page's addresses have it (see name_below)."""
    return name_below(scene.space.root, path)


def name_below(root: Path, path: Path) -> str:
    """Return the name of a path below `root`; "" where it lies elsewhere or its name is no text."""
    try:
        below = path.absolute().relative_to(root.absolute())
        below.as_posix().encode()
    except ValueError:  # a name that is no text raises a kind of it, too
        return ""
    return "" if ".." in below.parts else below.as_posix()
