"""Makes a copy of a dataset with everything mended that can be. The originals are never touched.

The copy is made in a hidden folder and gets its name when all of it is there: a kill or a full disk leaves
either the whole copy or none.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from musabi.dataset.config import DatasetConfig, ImageDataset
from musabi.dataset.copied_toml import CAPTIONS, copied_toml
from musabi.dataset.copying import Copying, Outcome, Source, copy_pictures
from musabi.dataset.decoding import Looked
from musabi.dataset.findings import CONVERTED
from musabi.dataset.jsonl import read_jsonl
from musabi.dataset.staging import staging_beside
from musabi.errors import RequestError
from musabi.hub.room import require_room

TOML = "dataset.toml"


@dataclass(frozen=True)
class Mended:
    """A copy: its folder, and what came of copying."""

    folder: Path
    outcome: Outcome

    @property
    def toml(self) -> Path:
        return self.folder / TOML

    def as_json(self) -> dict[str, object]:
        """Return the outcome as values that JSON can hold."""
        return {
            "folder": str(self.folder),
            "config": str(self.toml),
            "images": self.outcome.images,
            "changes": [
                {"from": str(one.source), "to": one.name, "what": list(one.what)}
                for one in self.outcome.changes
            ],
            "left_out": [{"file": str(file), "reason": reason} for file, reason in self.outcome.left_out],
        }


@dataclass(frozen=True)
class _Part:
    """A folder of the copy: which dataset's (from 1), the TOML key that names it, its name, its pictures."""

    number: int
    key: str
    name: str
    pictures: tuple[Source, ...]


def usual_place(config: DatasetConfig) -> Path:
    """Return where a copy goes that nobody named a place for: beside the dataset TOML."""
    path = config.path.absolute()
    return path.with_name(f"{path.stem}-mended")


def mend(
    config: DatasetConfig,
    seen: Mapping[Path, Looked],
    target: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Mended:
    """Copy the dataset into the folder `target`, mended, with a dataset TOML that points at the copy.

    `seen` is what a check found in its images. Videos are not copied: the new TOML names the same ones.

    Raises:
        RequestError: `target` has something in it, or the dataset has nothing that can be copied.
        MachineError: the disk has too little room.
        OSError: the folder can't be written.
    """
    target = target.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RequestError(f"{target} is there already. Remove it, or name another folder with --to.")
    parts = _parts(config)
    if not any(part.pictures for part in parts):
        raise RequestError(
            f"There is no image to copy in {config.datasets[0].place}. Put images there first."
        )
    require_room(target, sum(one.picture.stat().st_size for part in parts for one in part.pictures))
    outcome = Outcome()
    total = sum(len(part.pictures) for part in parts)
    ticks = itertools.count(1)

    def copied() -> None:
        if progress:
            progress(next(ticks), total)

    with staging_beside(target) as staging:
        copy = staging / "copy"
        for part in parts:
            how = _how(config.datasets[part.number - 1], copy / part.name, seen, copied)
            copy_pictures(part.pictures, how, outcome)
        text = copied_toml(config.path.read_text(encoding="utf-8"), _moved(parts, target))
        (copy / TOML).write_text(text, encoding="utf-8")
        if target.exists():
            target.rmdir()
        copy.rename(target)
    return Mended(target, outcome)


def _parts(config: DatasetConfig) -> list[_Part]:
    """Return the folders to copy: the images of each dataset, and its control images."""
    parts = []
    for number, dataset in enumerate(config.datasets, start=1):
        if dataset.video is not None:
            continue
        ending = f"-{number}" if len(config.datasets) > 1 else ""
        images = (
            _of_jsonl(dataset.jsonl, dataset)
            if dataset.jsonl
            else _of_folder(dataset.image_directory, dataset)
        )
        parts.append(_Part(number, "image_directory", f"images{ending}", images))
        if dataset.control.directory is not None:
            controls = _of_folder(dataset.control.directory, None)
            parts.append(_Part(number, "control_directory", f"control{ending}", controls))
    return parts


def _of_folder(folder: Path, captioned: ImageDataset | None) -> tuple[Source, ...]:
    """Return the pictures of a folder, not of its subfolders, of every format that can be read."""
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in CONVERTED and not path.name.startswith(".") and path.is_file()
    )
    return tuple(Source(path, _caption(path, captioned) if captioned else None) for path in files)


def _caption(image: Path, dataset: ImageDataset) -> bytes | None:
    file = image.with_name(f"{image.stem}{dataset.caption_extension}")
    return file.read_bytes() if file.is_file() else None


def _of_jsonl(jsonl: Path, dataset: ImageDataset) -> tuple[Source, ...]:
    """Return the pictures that a JSONL file names, which get caption files in the copy.

    Raises:
        RequestError: it names control images or several targets too, which caption files can't say.
    """
    lines = list(read_jsonl(jsonl, dataset))
    if any(line.controls or line.layers for line in lines):
        raise RequestError(
            f"{jsonl} names several pictures a line, which --fix can't copy. "
            "Put them into folders with caption files, or mend the pictures in an image editor."
        )
    return tuple(Source(line.path, f"{line.caption}\n".encode()) for line in lines if line.path.is_file())


def _how(
    dataset: ImageDataset, folder: Path, seen: Mapping[Path, Looked], copied: Callable[[], None]
) -> Copying:
    """Return how a dataset's pictures are copied; those whose names pair them with others keep their names."""
    return Copying(
        target=folder,
        caption_extension=dataset.caption_extension or CAPTIONS,
        seen=seen,
        rename=dataset.control.directory is None and not dataset.multiple_target,
        keep_alpha=dataset.multiple_target,
        copied=copied,
    )


def _moved(parts: list[_Part], target: Path) -> dict[int, dict[str, Path]]:
    """Return the folders of the copy by the number of their table and their TOML key."""
    moved: dict[int, dict[str, Path]] = {}
    for part in parts:
        folders = moved.setdefault(part.number, {})
        folders[part.key] = target / part.name
        if part.key == "image_directory":
            folders["cache_directory"] = target / part.name.replace("images", "cache", 1)
    return moved
