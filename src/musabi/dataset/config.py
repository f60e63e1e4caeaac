"""Reads a musubi-tuner dataset TOML, and says what is wrong with it before anything starts."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from musabi.dataset.frames import DEFAULT_MOST, Extraction, sections
from musabi.dataset.keys import KEYS, Medium
from musabi.dataset.reading import Reading, absolute, check_keys, check_medium, existing_folder
from musabi.dataset.toml_file import Table, read_tables
from musabi.errors import RequestError
from musabi.recipes.recipe import DatasetRules

GLOB_CHARACTERS = "[]*?"
DEFAULT_RESOLUTION = (960, 544)
"""[width, height] in pixels where a TOML names none (musubi-tuner v0.3.4, dataset/config_utils.py)."""
DEFAULT_WINDOW = 9
"""`fp_latent_window_size` where a TOML names none (musubi-tuner v0.3.4, dataset/config_utils.py)."""
Z_IMAGE = "zi"
"""Z-Image in cache file names (musubi-tuner v0.3.4, dataset/architectures.py)."""

ANY_MODEL = DatasetRules(
    takes=("image", "video"),
    control="any",
    keys=tuple(key.name for key in KEYS if key.needs in ("indices", "targets")),
)
"""For reading a dataset to show it, whichever model it is for: refuses only what no model takes."""

Size = tuple[int, int]


@dataclass(frozen=True)
class Control:
    """Where control images come from and what becomes of them.

    `directory` is None where a JSONL file names them. Without `resolution` (width, height) they are cropped
    to their image's bucket, with it to a bucket of that area. Where they keep their size (`resize` off), it
    is the most that they may have.
    """

    directory: Path | None = None
    resolution: Size | None = None
    resize: bool = True


@dataclass(frozen=True)
class OneFrame:
    """How a video model is trained on single frames: places on its time axis, in latent frames.

    `clean` are those of the control images, `target` that of the image. `window` is FramePack's section.
    """

    clean: tuple[int, ...]
    target: int
    no_post: bool = False
    window: int = DEFAULT_WINDOW


@dataclass(frozen=True)
class ImageDataset:
    """One `[[datasets]]` table with everything filled in. `resolution` is (width, height) in pixels.

    `image_directory` is the folder of the images, or of the videos where `video` says how they are cut; with
    `jsonl`, it is the folder that holds that file. `window` is FramePack's number of latent frames in a
    section; other models have none.
    """

    image_directory: Path
    cache_directory: Path
    caption_extension: str = ".txt"
    resolution: Size = DEFAULT_RESOLUTION
    batch_size: int = 1
    num_repeats: int = 1
    enable_bucket: bool = False
    bucket_no_upscale: bool = False
    jsonl: Path | None = None
    architecture: str = Z_IMAGE
    rules: DatasetRules = field(default_factory=DatasetRules, compare=False)
    video: Extraction | None = None
    control: Control = Control()
    multiple_target: bool = False
    one_frame: OneFrame | None = None
    window: int | None = None

    @property
    def place(self) -> Path:
        """What a message names: the JSONL file, or the folder."""
        return self.jsonl or self.image_directory

    @property
    def medium(self) -> Medium:
        return "image" if self.video is None else "video"

    @property
    def bucket_step(self) -> int:
        """Sides of buckets are multiples of this, in pixels."""
        return self.rules.bucket_step

    def sections(self, frames: int) -> int:
        """Return the number of cache files that a clip of `frames` frames is kept in; 0: it is too short."""
        return 1 if self.window is None else sections(frames, self.window, self.rules.latent_frames)


@dataclass(frozen=True)
class DatasetConfig:
    """A dataset TOML: where it lies, and its datasets in their order."""

    path: Path
    datasets: tuple[ImageDataset, ...]


def read_config(
    path: Path, rules: DatasetRules | None = None, architecture: str = Z_IMAGE, model: str = "this model"
) -> DatasetConfig:
    """Read the dataset TOML at `path` as musubi-tuner would for a model.

    Values fall back from a dataset to `[general]` to musubi-tuner's defaults. `rules` say what the model
    takes (None: single images, as Z-Image), `architecture` is its name in cache files, `model` its name in
    messages.

    Raises:
        RequestError: the file, a key or a value is wrong; the message names the file and the key.
    """
    reading = Reading(path, rules or DatasetRules(), architecture, model)
    general, tables = read_tables(path)
    check_keys(reading, "general", general)
    datasets = tuple(
        _dataset(replace(reading, table=f"[[datasets]] number {number}"), table, general)
        for number, table in enumerate(tables, start=1)
    )
    config = DatasetConfig(path, datasets)
    _check_caches_apart(config)
    return config


def _dataset(reading: Reading, table: Table, general: Table) -> ImageDataset:
    check_keys(reading, "datasets", table)
    medium = _medium(reading, table)
    check_medium(reading, medium, table)
    values = {**general, **table}
    folder, jsonl = _source(reading, values, medium)
    sectioned = medium == "video" and "fp_latent_window_size" in reading.rules.keys
    dataset = ImageDataset(
        image_directory=folder,
        cache_directory=_cache_directory(reading, values, folder, jsonl),
        caption_extension=_caption_extension(reading, values, jsonl),
        resolution=_size(values.get("resolution", DEFAULT_RESOLUTION)),
        batch_size=values.get("batch_size", 1),
        num_repeats=values.get("num_repeats", 1),
        enable_bucket=values.get("enable_bucket", False),
        bucket_no_upscale=values.get("bucket_no_upscale", False),
        jsonl=jsonl,
        architecture=reading.architecture,
        rules=reading.rules,
        video=_extraction(reading.rules, values) if medium == "video" else None,
        control=_control(reading, values, folder, jsonl),
        multiple_target=_multiple_target(reading, values),
        one_frame=_one_frame(reading, values) if medium == "image" else None,
        window=values.get("fp_latent_window_size", DEFAULT_WINDOW) if sectioned else None,
    )
    _check_resolution(reading, dataset)
    return dataset


def _medium(reading: Reading, table: Table) -> Medium:
    """Return what the dataset holds, by its keys."""
    images = [name for name in ("image_directory", "image_jsonl_file") if name in table]
    videos = [name for name in ("video_directory", "video_jsonl_file") if name in table]
    if images and videos:
        raise RequestError(
            f"{reading.place} has {images[0]} and {videos[0]}. Make two [[datasets]] of it, "
            "each with its own cache_directory."
        )
    if not images and not videos:
        only_videos = reading.rules.takes == ("video",)
        named = "video" if only_videos else "image"
        raise RequestError(
            f"{reading.place} names no {named}s. Add {named}_directory with the path of the {named} folder."
        )
    return "video" if videos else "image"


def _source(reading: Reading, values: Mapping[str, Any], medium: Medium) -> tuple[Path, Path | None]:
    """Return the folder of the images or videos and the JSONL file, if that names them."""
    name, listed = f"{medium}_directory", f"{medium}_jsonl_file"
    directory, jsonl = values.get(name), values.get(listed)
    if directory is not None and jsonl is not None:
        raise RequestError(f"{reading.place}: {name} and {listed} exclude each other. Remove one.")
    if jsonl is not None:
        file = absolute(reading, listed, jsonl)
        if not file.is_file():
            raise RequestError(f"{reading.place}: {listed} {file} is not there. Correct the path.")
        return file.parent, file
    return existing_folder(reading, name, str(directory), f"{medium}s"), None


def _cache_directory(reading: Reading, values: Mapping[str, Any], folder: Path, jsonl: Path | None) -> Path:
    value = values.get("cache_directory")
    if value is None and jsonl is not None:
        kind = "video" if "video_jsonl_file" in values else "image"
        raise RequestError(
            f"{reading.place}: a dataset with {kind}_jsonl_file needs a cache_directory. Add one."
        )
    cache = folder if value is None else absolute(reading, "cache_directory", value)
    if any(character in str(cache) for character in GLOB_CHARACTERS):
        raise RequestError(
            f"{reading.place}: the cache directory {cache} has one of the characters {GLOB_CHARACTERS} in it, "
            "and the trainer would find no file there. Name another with cache_directory."
        )
    if cache.exists() and not cache.is_dir():
        raise RequestError(f"{reading.place}: cache_directory {cache} is not a folder. Name a folder.")
    return cache


def _caption_extension(reading: Reading, values: Mapping[str, Any], jsonl: Path | None) -> str:
    """Return the extension of caption files, "" where a JSONL file holds the captions."""
    if jsonl is not None:
        return ""
    value = values.get("caption_extension")
    if value is None:
        raise RequestError(f'{reading.place}: caption_extension is missing. Add caption_extension = ".txt".')
    if not re.fullmatch(r"\.[^./\\\[\]*?\s]+", value):
        raise RequestError(
            f'{reading.place}: caption_extension must be a dot and an ending, such as ".txt", not "{value}".'
        )
    return str(value)


def _size(value: int | list[int]) -> Size:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _extraction(rules: DatasetRules, values: Mapping[str, Any]) -> Extraction:
    return Extraction(
        mode=values.get("frame_extraction", "head"),
        asked=tuple(values.get("target_frames", (1,))),
        stride=values.get("frame_stride", 1),
        sample=values.get("frame_sample", 1),
        most=values.get("max_frames", DEFAULT_MOST),
        source_fps=values.get("source_fps"),
        target_fps=rules.fps,
        latent_frames=rules.latent_frames,
    )


def _control(reading: Reading, values: Mapping[str, Any], folder: Path, jsonl: Path | None) -> Control:
    value, resolution = values.get("control_directory"), values.get("control_resolution")
    directory = None
    if value is not None:
        if jsonl is not None:
            raise RequestError(
                f"{reading.place}: the trainer passes over control_directory where a JSONL file names the "
                "images. Remove it, and add control_path to each line of the file."
            )
        directory = existing_folder(reading, "control_directory", value, "control images")
        if os.path.realpath(directory) == os.path.realpath(folder):
            raise RequestError(
                f"{reading.place}: control_directory is the folder of the dataset itself, so each item would "
                "be its own control. Put the control images into a folder of their own."
            )
    medium = "video" if "video_directory" in values else "image"
    needed = reading.rules.control == "one" or (reading.rules.control == "each_index" and medium == "image")
    if value is None and jsonl is None and needed:
        raise RequestError(
            f"{reading.place}: {reading.model} needs a control {medium} for each item. Add control_directory."
        )
    return Control(
        directory, None if resolution is None else _size(resolution), not values.get("no_resize_control")
    )


def _multiple_target(reading: Reading, values: Mapping[str, Any]) -> bool:
    given = bool(values.get("multiple_target", False))
    if reading.rules.multiple_target and not given:
        raise RequestError(
            f"{reading.place}: {reading.model} is trained on images in layers, which the trainer passes over "
            "without multiple_target. Add multiple_target = true."
        )
    return given


def _one_frame(reading: Reading, values: Mapping[str, Any]) -> OneFrame | None:
    if reading.rules.control != "each_index":
        return None
    for name, sample in (("fp_1f_clean_indices", "[0]"), ("fp_1f_target_index", "1")):
        if name not in values:
            raise RequestError(
                f"{reading.place}: {name} is missing, and {reading.model} needs it for single frames. "
                f"Add one such as {name} = {sample}."
            )
    return OneFrame(
        tuple(values["fp_1f_clean_indices"]),
        values["fp_1f_target_index"],
        values.get("fp_1f_no_post", False),
        values.get("fp_latent_window_size", DEFAULT_WINDOW),
    )


def _check_resolution(reading: Reading, dataset: ImageDataset) -> None:
    width, height = dataset.resolution
    step = reading.rules.bucket_step
    if dataset.enable_bucket or dataset.video:
        if width * height < (2 * step) ** 2:
            raise RequestError(
                f"{reading.place}: resolution {width}x{height} is too small for buckets. "
                f"Take {2 * step} or more."
            )
    elif width % step or height % step:
        near = f"[{max(step, width // step * step)}, {max(step, height // step * step)}]"
        raise RequestError(
            f"{reading.place}: without buckets the resolution must be multiples of {step}, not "
            f"{width}x{height}. Write resolution = {near} or enable_bucket = true."
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
