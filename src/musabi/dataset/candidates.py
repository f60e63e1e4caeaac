"""Finds the images or videos of a dataset, with captions and control images, as musubi-tuner v0.3.4 does."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from musabi.dataset.config import ImageDataset
from musabi.dataset.control import Matched, match_images, match_videos, number_fault, wanted_number
from musabi.dataset.extensions import (
    IMAGE_EXTENSIONS,
    OTHER_IMAGE_EXTENSIONS,
    OTHER_VIDEO_EXTENSIONS,
    VIDEO_EXTENSIONS,
)
from musabi.dataset.jsonl import read_jsonl
from musabi.dataset.targets import match_targets, uneven


@dataclass(frozen=True)
class Candidate:
    """An image or video with its caption, control files and layers.

    `reason` says why the caption can't be read, `fault` what is wrong with its control files or layers.
    """

    path: Path
    caption: str | None
    caption_file: Path | None
    reason: str = ""
    controls: tuple[Path, ...] = ()
    layers: tuple[Path, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class Listing:
    """What a dataset names, and the files and folders beside it that look like more but are passed over.

    `orphans` are caption files without a picture or video of their name, passed over or not.
    """

    candidates: tuple[Candidate, ...]
    ignored: tuple[Path, ...] = ()
    orphans: tuple[Path, ...] = ()


def find(dataset: ImageDataset) -> Listing:
    """Return what the dataset names.

    Raises:
        RequestError: a JSONL file that can't be read.
    """
    if dataset.jsonl is not None:
        return Listing(_from_jsonl(dataset.jsonl, dataset))
    listing = _from_directory(dataset)
    found = _with_layers(listing.candidates) if dataset.multiple_target else listing.candidates
    directory = dataset.control.directory
    return replace(listing, candidates=_with_controls(found, dataset, directory) if directory else found)


def files_in(folder: Path, endings: Iterable[str]) -> list[Path]:
    """Return what in a folder has one of the endings, by name, without what is hidden."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    wanted = frozenset(endings)
    return [folder / name for name in names if Path(name).suffix in wanted]


def _from_directory(dataset: ImageDataset) -> Listing:
    """Return the images or videos of a folder, not of its subfolders."""
    folder, extension = dataset.image_directory, dataset.caption_extension
    endings = frozenset(IMAGE_EXTENSIONS if dataset.medium == "image" else VIDEO_EXTENSIONS)
    with os.scandir(folder) as entries:
        listing = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    apart = {os.path.realpath(path) for path in (dataset.cache_directory, dataset.control.directory) if path}
    ignored = tuple(
        folder / name
        for name, is_folder in listing
        if Path(name).suffix not in endings
        and (os.path.realpath(folder / name) not in apart if is_folder else _looks_meant(name, dataset))
    )
    captions = {name for name, _ in listing if name.endswith(extension)}
    found = [folder / name for name, _ in listing if Path(name).suffix in endings]
    wanted = {f"{path.stem}{extension}" for path in (*found, *ignored)}
    orphans = tuple(folder / name for name in sorted(captions - wanted)) if extension else ()
    return Listing(tuple(_with_caption(path, extension, captions) for path in found), ignored, orphans)


def _looks_meant(name: str, dataset: ImageDataset) -> bool:
    suffix = Path(name).suffix.lower()
    if dataset.medium == "image":
        return suffix in OTHER_IMAGE_EXTENSIONS or suffix in IMAGE_EXTENSIONS
    return suffix in OTHER_VIDEO_EXTENSIONS or suffix in VIDEO_EXTENSIONS


def _with_caption(path: Path, extension: str, captions: set[str]) -> Candidate:
    name = f"{path.stem}{extension}"
    if name not in captions:
        return Candidate(path, None, None)
    file = path.with_name(name)
    try:
        return Candidate(path, file.read_text(encoding="utf-8").strip(), file)
    except UnicodeDecodeError:
        return Candidate(path, None, file, "is not UTF-8 text")
    except OSError as error:
        return Candidate(path, None, file, f"can't be read: {error.strerror}")


def _from_jsonl(jsonl: Path, dataset: ImageDataset) -> tuple[Candidate, ...]:
    found = tuple(
        Candidate(line.path, line.caption, None, controls=line.controls, layers=line.layers)
        for line in read_jsonl(jsonl, dataset)
    )
    number = wanted_number(dataset)
    if dataset.rules.control != "none":
        found = tuple(
            replace(each, controls=each.controls[:number], fault=number_fault(len(each.controls), number))
            for each in found
        )
    if dataset.multiple_target:
        faults = uneven({each.path: each.layers for each in found})
        found = tuple(replace(each, fault=each.fault or faults.get(each.path, "")) for each in found)
    return found


def _with_layers(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """Return the candidates that have a caption with their layers, and those that are no layer of one."""
    captioned = [each.path for each in candidates if each.caption_file is not None]
    bare = [each.path for each in candidates if each.caption_file is None]
    matched = match_targets(captioned, bare)
    taken = {layer for layers in matched.files.values() for layer in layers}
    return tuple(
        replace(each, layers=matched.files.get(each.path, ()), fault=matched.faults.get(each.path, ""))
        for each in candidates
        if each.path not in taken
    )


def _with_controls(
    candidates: tuple[Candidate, ...], dataset: ImageDataset, directory: Path
) -> tuple[Candidate, ...]:
    """Return the candidates with their control files; the trainer seeks none for images without a caption."""
    matched = _matched(candidates, dataset, directory)
    return tuple(
        replace(
            each,
            controls=matched.files.get(each.path, ()),
            fault=each.fault or matched.faults.get(each.path, ""),
        )
        for each in candidates
    )


def _matched(candidates: tuple[Candidate, ...], dataset: ImageDataset, directory: Path) -> Matched:
    if dataset.medium == "video":
        return match_videos([each.path for each in candidates], directory)
    captioned = [each.path for each in candidates if each.caption_file is not None]
    return match_images(captioned, files_in(directory, IMAGE_EXTENSIONS), wanted_number(dataset))
