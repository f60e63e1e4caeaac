"""Which files get a caption, and where it goes. Looks at names and caption files only, never at pictures."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from musabi.dataset.config import DatasetConfig
from musabi.dataset.extensions import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from musabi.errors import RequestError

Kind = Literal["image", "video"]
DEFAULT_EXTENSION = ".txt"
LAYER = re.compile(r"(?P<stem>.+)_\d+")


@dataclass(frozen=True)
class Place:
    """A folder whose files are captioned, and what their caption files end in.

    `layered`: NAME_0.png, NAME_1.png are layers of NAME.png and share its caption (multiple_target).
    """

    folder: Path
    extension: str = DEFAULT_EXTENSION
    kinds: tuple[Kind, ...] = ("image", "video")
    layered: bool = False


@dataclass(frozen=True)
class Uncaptioned:
    """A file that gets a caption, and the caption's file, which may be there: empty, or to be replaced."""

    file: Path
    kind: Kind
    caption_file: Path


@dataclass(frozen=True)
class Plan:
    """What will be captioned, how many files keep the caption they have, and what is passed over and why."""

    files: tuple[Uncaptioned, ...] = ()
    captioned: int = 0
    passed_over: tuple[tuple[Path, str], ...] = ()

    def __add__(self, other: "Plan") -> "Plan":
        return Plan(
            self.files + other.files,
            self.captioned + other.captioned,
            self.passed_over + other.passed_over,
        )


def places_of(config: DatasetConfig) -> tuple[Place, ...]:
    """Return the folders of a dataset TOML.

    Raises:
        RequestError: a JSONL file holds all its captions.
    """
    places = tuple(
        Place(one.image_directory, one.caption_extension, (one.medium,), one.multiple_target)
        for one in config.datasets
        if one.jsonl is None
    )
    if not places:
        raise RequestError(
            f"The captions of {config.path} stand in its JSONL file, which is not written to here. Name the "
            "folder of the pictures: musabi caption FOLDER"
        )
    return places


def make_plan(places: Iterable[Place], *, overwrite: bool = False) -> Plan:
    """Return what is to be done in all these places.

    Raises:
        RequestError: a folder is not there, or none of them holds a picture or a video.
    """
    plan = Plan()
    named: list[Path] = []
    for place in places:
        named.append(place.folder)
        plan += _plan_folder(place, overwrite)
    if not plan.files and not plan.captioned and not plan.passed_over:
        raise RequestError(
            f"There is no picture or video in {', '.join(map(str, named))}. Name the folder that holds them; "
            "folders inside it are not looked at."
        )
    return plan


def _plan_folder(place: Place, overwrite: bool) -> Plan:
    files: list[Uncaptioned] = []
    passed_over: list[tuple[Path, str]] = []
    captioned = 0
    taken: dict[Path, Path] = {}
    listing = _listing(place.folder)
    stems = {file.stem for file in listing} if place.layered else set()
    for file in listing:
        layer = LAYER.fullmatch(file.stem)
        if layer is not None and layer["stem"] in stems:
            continue
        kind = kind_of(file)
        if kind is None or kind not in place.kinds:
            if kind_of(file.with_suffix(file.suffix.lower())) in place.kinds:
                passed_over.append(
                    (file, f"the trainer does not read {file.suffix}; rename it in lower case")
                )
            continue
        caption_file = file.with_name(f"{file.stem}{place.extension}")
        if caption_file in taken:
            passed_over.append((file, f"its caption file is that of {taken[caption_file].name}; rename one"))
            continue
        taken[caption_file] = file
        if has_caption(caption_file) and not overwrite:
            captioned += 1
        else:
            files.append(Uncaptioned(file, kind, caption_file))
    return Plan(tuple(files), captioned, tuple(passed_over))


def _listing(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_file())
    except FileNotFoundError:
        raise RequestError(f"The folder {folder} is not there. Correct the path.") from None
    except NotADirectoryError:
        raise RequestError(f"{folder} is not a folder. Name the folder of the pictures.") from None
    return [folder / name for name in names]


def kind_of(file: Path) -> Kind | None:
    """Return what a file is by its name, or None where the trainer would not take it."""
    if file.suffix in IMAGE_EXTENSIONS:
        return "image"
    return "video" if file.suffix in VIDEO_EXTENSIONS else None


def has_caption(caption_file: Path) -> bool:
    """Tell whether there is a caption with a word in it. A file that can't be read counts as one."""
    try:
        return bool(caption_file.read_bytes().strip())
    except FileNotFoundError:
        return False
    except OSError:
        return True


def first_a_few(files: tuple[Uncaptioned, ...], count: int) -> tuple[Uncaptioned, ...]:
    """Return the files with `count` of them, spread over the whole, in front: a preview shows the variety."""
    if len(files) <= count:
        return files
    chosen = {round(number * (len(files) - 1) / (count - 1)) for number in range(count)}
    ahead = tuple(files[number] for number in sorted(chosen))
    return ahead + tuple(file for number, file in enumerate(files) if number not in chosen)
