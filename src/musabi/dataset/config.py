"""Reads a musubi-tuner dataset TOML, and says what is wrong with it before anything starts."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from musabi.dataset.buckets import STEP
from musabi.dataset.keys import BY_NAME, USED, Place
from musabi.errors import RequestError

GLOB_CHARACTERS = "[]*?"
DEFAULT_RESOLUTION = (960, 544)
"""[width, height] in pixels where a TOML names none (musubi-tuner v0.3.4, dataset/config_utils.py)."""


@dataclass(frozen=True)
class ImageDataset:
    """One `[[datasets]]` table with everything filled in. `resolution` is (width, height) in pixels.

    `image_directory` is the folder of the images or, with `jsonl`, the folder that holds that file.
    """

    image_directory: Path
    cache_directory: Path
    caption_extension: str = ".txt"
    resolution: tuple[int, int] = DEFAULT_RESOLUTION
    batch_size: int = 1
    num_repeats: int = 1
    enable_bucket: bool = False
    bucket_no_upscale: bool = False
    jsonl: Path | None = None


@dataclass(frozen=True)
class DatasetConfig:
    """A dataset TOML: where it lies, and its datasets in their order."""

    path: Path
    datasets: tuple[ImageDataset, ...]


def read_config(path: Path) -> DatasetConfig:
    """Read the dataset TOML at `path` as musubi-tuner would for Z-Image.

    Values fall back from a dataset to `[general]` to musubi-tuner's defaults.

    Raises:
        RequestError: the file, a key or a value is wrong; the message names the file and the key.
    """
    tables = _parse(path)
    general, datasets = _tables(path, tables)
    _check_keys(path, "[general]", "general", general)
    config = DatasetConfig(
        path,
        tuple(
            _dataset(path, f"[[datasets]] number {number}", entry, general)
            for number, entry in enumerate(datasets, start=1)
        ),
    )
    _check_caches_apart(config)
    return config


def _parse(path: Path) -> dict[str, Any]:
    if path.suffix.lower() != ".toml":
        raise RequestError(f"The dataset config {path} must be a file whose name ends in .toml.")
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise RequestError(
            f"The dataset config {path} is not there. Copy dataset.toml.example to that place, "
            "or name another with DATASET_CONFIG."
        ) from None
    except OSError as error:
        raise RequestError(f"The dataset config {path} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise RequestError(f"The dataset config {path} is not UTF-8 text. Save it as UTF-8.") from None
    if text.startswith("\ufeff"):
        raise RequestError(f'{path} begins with a byte-order mark. Save it as UTF-8 "without BOM".')
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{path}, {_where(str(error), text)}. Mend that line of the TOML.") from None


def _where(message: str, text: str) -> str:
    """Turn tomllib's message into `line L, column C: what`; "at end of document" becomes its place too."""
    what, _, place = message.rpartition(" (at ")
    found = re.match(r"line (\d+), column (\d+)", place)
    if found:
        line, column = found.groups()
        return f"line {line}, column {column}: {what}"
    lines = text.split("\n")
    return f"line {len(lines)}, column {len(lines[-1]) + 1}: {what or message}"


def _tables(path: Path, tables: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    for name in tables:
        if name in ("general", "datasets"):
            continue
        if name in BY_NAME:
            place = "[general]" if "general" in BY_NAME[name].places else "[[datasets]]"
            raise RequestError(f"{path}: {name} stands above the first table. Put it under {place}.")
        raise RequestError(f"{path}: unknown key {name!r}.{_nearest(name, ('general', 'datasets'))}")
    general, datasets = tables.get("general", {}), tables.get("datasets")
    if not isinstance(general, dict):
        raise RequestError(f"{path}: general must be a table. Write [general], with its keys below it.")
    if isinstance(datasets, dict):
        raise RequestError(f"{path}: [datasets] needs double brackets. Write [[datasets]].")
    if (
        not isinstance(datasets, list)
        or not datasets
        or not all(isinstance(entry, dict) for entry in datasets)
    ):
        raise RequestError(
            f"{path} has no [[datasets]] table. Add one with image_directory and cache_directory."
        )
    return general, datasets


def _nearest(name: str, names: tuple[str, ...]) -> str:
    matches = get_close_matches(name, names, n=1, cutoff=0.5)
    return f" Did you mean {matches[0]!r}?" if matches else f" Known keys: {', '.join(names)}."


def _check_keys(path: Path, where: str, place: Place, table: Mapping[str, Any]) -> None:
    for name, value in table.items():
        key = BY_NAME.get(name)
        if key is None:
            here = tuple(known for known in USED if place in BY_NAME[known].places)
            close = get_close_matches(name, USED, n=1, cutoff=0.5)
            raise RequestError(
                f"{path}, {where}: unknown key {name!r}.{_nearest(name, USED if close else here)}"
            )
        if key.only_for:
            raise RequestError(
                f"{path}, {where}: {name} is for {key.only_for}, and Z-Image takes single images only. "
                "Remove it."
            )
        if place not in key.places:
            raise RequestError(f"{path}, {where}: {name} belongs under [[datasets]]. Move it there.")
        if not key.kind.holds(value):
            raise RequestError(f"{path}, {where}: {name} must be {key.kind.name}, not {_shown(value)}.")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def _dataset(path: Path, where: str, table: Mapping[str, Any], general: Mapping[str, Any]) -> ImageDataset:
    _check_keys(path, where, "datasets", table)
    values = {**general, **table}
    place = f"{path}, {where}"
    resolution = values.get("resolution", DEFAULT_RESOLUTION)
    folder, jsonl = _images(place, path, values)
    dataset = ImageDataset(
        image_directory=folder,
        cache_directory=_cache_directory(place, path, values, folder, jsonl),
        caption_extension=_caption_extension(place, values, jsonl),
        resolution=(resolution, resolution)
        if isinstance(resolution, int)
        else (resolution[0], resolution[1]),
        batch_size=values.get("batch_size", 1),
        num_repeats=values.get("num_repeats", 1),
        enable_bucket=values.get("enable_bucket", False),
        bucket_no_upscale=values.get("bucket_no_upscale", False),
        jsonl=jsonl,
    )
    _check_resolution(place, dataset)
    return dataset


def _images(place: str, path: Path, values: Mapping[str, Any]) -> tuple[Path, Path | None]:
    """Return the folder of the images and the JSONL file, if that names them."""
    directory, jsonl = values.get("image_directory"), values.get("image_jsonl_file")
    if directory is not None and jsonl is not None:
        raise RequestError(f"{place}: image_directory and image_jsonl_file exclude each other. Remove one.")
    if jsonl is not None:
        file = _absolute(place, path, "image_jsonl_file", jsonl)
        if not file.is_file():
            raise RequestError(f"{place}: image_jsonl_file {file} is not there. Correct the path.")
        return file.parent, file
    if directory is None:
        raise RequestError(f"{place} names no images. Add image_directory with the path of the image folder.")
    folder = _absolute(place, path, "image_directory", directory)
    if not folder.exists():
        raise RequestError(f"{place}: image_directory {folder} is not there. Make it, or correct the path.")
    if not folder.is_dir():
        raise RequestError(
            f"{place}: image_directory {folder} is not a folder. Name the folder of the images."
        )
    return folder, None


def _absolute(place: str, path: Path, name: str, value: str) -> Path:
    """Return the path `value`; the trainer would look for a relative one wherever it was started."""
    given = Path(value)
    if value and given.is_absolute():
        return Path(os.path.normpath(given))
    beside = path.resolve().parent / given.expanduser()
    here = Path.cwd() / given.expanduser()
    meant = here if here.exists() and not beside.exists() else beside
    raise RequestError(
        f'{place}: {name} must be an absolute path, not "{value}". '
        f'Write {name} = "{os.path.normpath(meant)}".'
    )


def _cache_directory(
    place: str, path: Path, values: Mapping[str, Any], folder: Path, jsonl: Path | None
) -> Path:
    value = values.get("cache_directory")
    if value is None and jsonl is not None:
        raise RequestError(f"{place}: a dataset with image_jsonl_file needs a cache_directory. Add one.")
    cache = folder if value is None else _absolute(place, path, "cache_directory", value)
    if any(character in str(cache) for character in GLOB_CHARACTERS):
        raise RequestError(
            f"{place}: the cache directory {cache} has one of the characters {GLOB_CHARACTERS} in it, and "
            "the trainer would find no file there. Name another with cache_directory."
        )
    if cache.exists() and not cache.is_dir():
        raise RequestError(f"{place}: cache_directory {cache} is not a folder. Name a folder.")
    return cache


def _caption_extension(place: str, values: Mapping[str, Any], jsonl: Path | None) -> str:
    """Return the extension of caption files, "" where a JSONL file holds the captions."""
    if jsonl is not None:
        return ""
    value = values.get("caption_extension")
    if value is None:
        raise RequestError(f'{place}: caption_extension is missing. Add caption_extension = ".txt".')
    if not re.fullmatch(r"\.[^./\\\[\]*?\s]+", value):
        raise RequestError(
            f'{place}: caption_extension must be a dot and an ending, such as ".txt", not "{value}".'
        )
    return str(value)


def _check_resolution(place: str, dataset: ImageDataset) -> None:
    width, height = dataset.resolution
    if dataset.enable_bucket:
        if width * height < (2 * STEP) ** 2:
            raise RequestError(
                f"{place}: resolution {width}x{height} is too small for buckets. Take {2 * STEP} or more."
            )
    elif width % STEP or height % STEP:
        near = f"[{max(STEP, width // STEP * STEP)}, {max(STEP, height // STEP * STEP)}]"
        raise RequestError(
            f"{place}: without buckets the resolution must be multiples of {STEP}, not {width}x{height}. "
            f"Write resolution = {near} or enable_bucket = true."
        )


def _check_caches_apart(config: DatasetConfig) -> None:
    seen: dict[str, int] = {}
    for number, dataset in enumerate(config.datasets, start=1):
        real = os.path.realpath(dataset.cache_directory)
        if real in seen:
            raise RequestError(
                f"{config.path}: [[datasets]] numbers {seen[real]} and {number} share the cache directory "
                f"{dataset.cache_directory}. Give each its own cache_directory."
            )
        seen[real] = number
