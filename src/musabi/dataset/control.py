"""Which control images belong to an item, exactly as musubi-tuner v0.3.4 matches them (datasources.py)."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from musabi.dataset.buckets import Size, bucket_of_area
from musabi.dataset.config import Control, ImageDataset
from musabi.dataset.extensions import VIDEO_EXTENSIONS


@dataclass(frozen=True)
class Matched:
    """The control files of each item, in their order, and for items without right ones a sentence why."""

    files: Mapping[Path, tuple[Path, ...]]
    faults: Mapping[Path, str]


def wanted_number(dataset: ImageDataset) -> int | None:
    """Return how many control images each image must have; None: any number, also none."""
    if dataset.one_frame is not None:
        return len(dataset.one_frame.clean)
    return None if dataset.rules.control == "any" else 1


def match_images(images: Iterable[Path], controls: Iterable[Path], number: int | None) -> Matched:
    """Give each image its control images: those of its stem, or its stem with `_` and a number, in order.

    Longer names choose first, so that a_1 doesn't lose its control to a. What begins with a stem but has no
    number stops the trainer, as does too few.
    """
    left = set(controls)
    files: dict[Path, tuple[Path, ...]] = {}
    faults: dict[Path, str] = {}
    for image in sorted(images, key=lambda path: len(path.name), reverse=True):
        own = sorted(path for path in left if path.name.startswith((f"{image.stem}.", f"{image.stem}_")))
        left.difference_update(own)
        try:
            ordered = in_order(image.stem, own)
        except ValueError as error:
            faults[image] = str(error)
            continue
        if fault := number_fault(len(ordered), number or max(1, len(ordered))):
            faults[image] = fault
        files[image] = tuple(ordered[:number])
    return Matched(files, faults)


def in_order(stem: str, files: Sequence[Path]) -> list[Path]:
    """Return the files that belong to a stem in the order of their numbers, one without a number first.

    Raises:
        ValueError: a name without a number, or two with the same one.
    """
    placed: dict[int, Path] = {}
    for file in files:
        ending = file.stem.rpartition("_")[2]
        if file.stem != stem and not ending.isdecimal():
            raise ValueError(
                f"{file.name} begins like it but does not end in _ and a number, where the trainer stops"
            )
        place = -1 if file.stem == stem else int(ending)
        if place in placed:
            raise ValueError(f"{placed[place].name} and {file.name} have the same place")
        placed[place] = file
    return [placed[place] for place in sorted(placed)]


def number_fault(there: int, number: int | None) -> str:
    """Say what is wrong with having `there` control images where `number` are needed ("": nothing).

    Of too many the trainer takes the first, or all where the model can't: either way not what was meant.
    """
    if number is None or there == number:
        return ""
    if there > number:
        return f"has {there} control images where the model takes {number}"
    if not there:
        return "has no control image" if number == 1 else f"has none of its {number} control images"
    return f"has {there} of its {number} control images"


def match_videos(videos: Iterable[Path], directory: Path) -> Matched:
    """Give each video its control: the same name, else a folder of frames of its stem, else another ending."""
    with os.scandir(directory) as entries:
        there = {entry.name: entry.is_dir() for entry in entries}
    files: dict[Path, tuple[Path, ...]] = {}
    faults: dict[Path, str] = {}
    for video in videos:
        others = (f"{video.stem}{ending}" for ending in VIDEO_EXTENSIONS)
        folder = [video.stem] if there.get(video.stem) else []
        name = next((name for name in (video.name, *folder, *others) if name in there), None)
        if name is None:
            faults[video] = "has no control video"
        else:
            files[video] = (directory / name,)
    return Matched(files, faults)


def trained_size(width: int, height: int, bucket: Size, control: Control, step: int) -> Size:
    """Return the (width, height) in pixels that a control image of `width` x `height` is trained at.

    Raises:
        ValueError: a side would be 0.
    """
    if control.resolution is None:
        size = bucket if control.resize else (width - width % step, height - height % step)
    else:
        area = control.resolution[0] * control.resolution[1]
        if not control.resize and width * height <= area:
            return width, height
        size = bucket_of_area(width, height, area, step)
    if min(size) < 1:
        raise ValueError(f"{width}x{height} pixels is too small for a side of {step}")
    return size
