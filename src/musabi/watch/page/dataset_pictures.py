"""Which pictures and videos the workspace's datasets hold, and where the caption of each one lies."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from musabi.dataset.candidates import files_in, find
from musabi.dataset.config import ANY_MODEL, ImageDataset, read_config
from musabi.dataset.extensions import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from musabi.errors import RequestError
from musabi.watch.page.dataset_place import USUAL_EXTENSION, name_below
from musabi.watch.page.inside import lies_in

IN_JSONL = "A JSONL file holds these captions. They can be read here, and changed in {file}."
OUTSIDE = "{folder} lies outside the workspace, so its images are not shown here."


@dataclass(frozen=True)
class Picture:
    """An image or a video. `file` is its name below the workspace, as addresses have it.

    `caption_file` is where its caption lies or would lie; None where a JSONL file holds it, as `fixed_caption`.
    """

    file: str
    path: Path
    caption_file: Path | None
    is_video: bool = False
    fixed_caption: str = ""


@dataclass(frozen=True)
class Group:
    """The pictures of one dataset. `remark` says why they can't be edited or shown, "" where they can.

    `watched` are the folders and files that tell by their time that something changed.
    """

    title: str
    pictures: tuple[Picture, ...]
    watched: tuple[Path, ...]
    remark: str = ""


@dataclass(frozen=True)
class Found:
    """All groups; `remark` says why they are not those of the dataset TOML, "" where they are."""

    groups: tuple[Group, ...]
    remark: str = ""


def find_pictures(root: Path, config_file: Path, usual_folder: Path) -> Found:
    """Return the pictures of the dataset TOML, or those of the usual folder where it can't be read."""
    if not config_file.is_file():
        return Found((_of_folder(root, usual_folder),))
    try:
        datasets = read_config(config_file, ANY_MODEL).datasets
        return Found(tuple(_of_dataset(root, number, one) for number, one in enumerate(datasets, start=1)))
    except (RequestError, OSError) as problem:
        return Found((_of_folder(root, usual_folder),), str(problem))


def _of_dataset(root: Path, number: int, dataset: ImageDataset) -> Group:
    name = f"Dataset {number}: {name_below(root, dataset.place) or dataset.place}"
    watched = (dataset.jsonl or dataset.image_directory,)
    if dataset.jsonl is None and not lies_in(dataset.image_directory, root):
        return Group(name, (), watched, OUTSIDE.format(folder=dataset.image_directory))
    is_video = dataset.medium == "video"
    in_jsonl = dataset.jsonl is not None
    pictures = tuple(
        Picture(
            file,
            one.path,
            None if in_jsonl else one.caption_file or one.path.with_suffix(dataset.caption_extension),
            is_video,
            (one.caption or "") if in_jsonl else "",
        )
        for one in find(dataset).candidates
        if (file := name_below(root, one.path))
    )
    return Group(name, pictures, watched, IN_JSONL.format(file=dataset.jsonl) if in_jsonl else "")


def _of_folder(root: Path, folder: Path) -> Group:
    if not lies_in(folder, root):
        return Group(str(folder), (), (folder,), OUTSIDE.format(folder=folder))
    try:
        paths = files_in(folder, (*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS))
    except OSError:
        paths = []
    return Group(name_below(root, folder) or str(folder), tuple(_plain(root, paths)), (folder,))


def _plain(root: Path, paths: Iterable[Path]) -> Iterable[Picture]:
    for path in paths:
        if file := name_below(root, path):
            yield Picture(
                file, path, path.with_suffix(USUAL_EXTENSION), is_video=path.suffix in VIDEO_EXTENSIONS
            )
