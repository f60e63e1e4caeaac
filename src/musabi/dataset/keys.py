"""The keys of a musubi-tuner dataset TOML, as data: their type, their place and what they are for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from musabi.dataset.frames import MODES
from musabi.recipes.recipe import DatasetRules

Place = Literal["general", "datasets"]
Medium = Literal["image", "video"]
Need = Literal["nothing", "images", "videos", "control", "targets", "indices"]
BOTH: tuple[Place, ...] = ("general", "datasets")
DATASETS: tuple[Place, ...] = ("datasets",)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: object) -> bool:
    return isinstance(value, int) and _whole(value) and value >= 1


def _list_of(value: object, holds: Callable[[object], bool]) -> bool:
    return isinstance(value, list) and bool(value) and all(holds(entry) for entry in value)


@dataclass(frozen=True)
class Kind:
    """A type of value: what to call it in a message, and whether a value is of it."""

    name: str
    holds: Callable[[object], bool]


TEXT = Kind('text in quotes, such as "text"', lambda value: isinstance(value, str))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
WHOLE = Kind("a whole number", _whole)
COUNT = Kind("a whole number of at least 1", _count)
RATE = Kind(
    "a number with a decimal point, such as 30.0",
    lambda value: isinstance(value, float) and 0 < value < float("inf"),
)
WHOLES = Kind("a list of whole numbers, such as [0]", lambda value: _list_of(value, _whole))
COUNTS = Kind("a list of whole numbers of at least 1, such as [1, 25]", lambda value: _list_of(value, _count))
MODE = Kind("one of " + ", ".join(f'"{mode}"' for mode in MODES), lambda value: value in MODES)
SIZE = Kind(
    "a number of pixels or [width, height]",
    lambda value: _count(value) or (_list_of(value, _count) and isinstance(value, list) and len(value) == 2),
)


@dataclass(frozen=True)
class Key:
    """One key of a table.

    `needs` is what a model must take to use it where its recipe does not name the key, `only_for` says so
    in words. `media` are the kinds of dataset that have it. `now` is the key that took its place.
    """

    name: str
    kind: Kind
    places: tuple[Place, ...] = DATASETS
    only_for: str = ""
    needs: Need = "nothing"
    media: tuple[Medium, ...] = ("image", "video")
    now: str = ""


IMAGE: tuple[Medium, ...] = ("image",)
VIDEO: tuple[Medium, ...] = ("video",)
IMAGES_FOR, VIDEOS_FOR = "image datasets", "video datasets"
CONTROL_FOR, FRAMEPACK_FOR = "models that take control images", "FramePack"
ONE_FRAME_FOR = "training single frames of a video model"

# musubi-tuner v0.3.4, dataset/config_utils.py; the last three are its deprecated names.
KEYS = (
    Key("resolution", SIZE, BOTH),
    Key("caption_extension", TEXT, BOTH),
    Key("batch_size", COUNT, BOTH),
    Key("num_repeats", COUNT, BOTH),
    Key("enable_bucket", FLAG, BOTH),
    Key("bucket_no_upscale", FLAG, BOTH),
    Key("cache_directory", TEXT),
    Key("image_directory", TEXT, DATASETS, IMAGES_FOR, "images", IMAGE),
    Key("image_jsonl_file", TEXT, DATASETS, IMAGES_FOR, "images", IMAGE),
    Key("multiple_target", FLAG, DATASETS, "models that make images in layers", "targets", IMAGE),
    Key("control_directory", TEXT, DATASETS, CONTROL_FOR, "control"),
    Key("no_resize_control", FLAG, DATASETS, CONTROL_FOR, "control", IMAGE),
    Key("control_resolution", SIZE, DATASETS, CONTROL_FOR, "control", IMAGE),
    Key("fp_latent_window_size", COUNT, DATASETS, FRAMEPACK_FOR, "indices"),
    Key("fp_1f_clean_indices", WHOLES, DATASETS, ONE_FRAME_FOR, "indices", IMAGE),
    Key("fp_1f_target_index", WHOLE, DATASETS, ONE_FRAME_FOR, "indices", IMAGE),
    Key("fp_1f_no_post", FLAG, DATASETS, ONE_FRAME_FOR, "indices", IMAGE),
    Key("video_directory", TEXT, DATASETS, VIDEOS_FOR, "videos", VIDEO),
    Key("video_jsonl_file", TEXT, DATASETS, VIDEOS_FOR, "videos", VIDEO),
    Key("target_frames", COUNTS, DATASETS, VIDEOS_FOR, "videos", VIDEO),
    Key("frame_extraction", MODE, DATASETS, VIDEOS_FOR, "videos", VIDEO),
    Key("frame_stride", COUNT, DATASETS, VIDEOS_FOR, "videos", VIDEO),
    Key("frame_sample", COUNT, DATASETS, VIDEOS_FOR, "videos", VIDEO),
    Key("max_frames", COUNT, DATASETS, VIDEOS_FOR, "videos", VIDEO),
    Key("source_fps", RATE, DATASETS, VIDEOS_FOR, "videos", VIDEO),
    *(
        Key(old, kind, DATASETS, CONTROL_FOR, "control", IMAGE, new)
        for old, kind, new in (
            ("flux_kontext_no_resize_control", FLAG, "no_resize_control"),
            ("qwen_image_edit_no_resize_control", FLAG, "no_resize_control"),
            ("qwen_image_edit_control_resolution", SIZE, "control_resolution"),
        )
    ),
)
BY_NAME = {key.name: key for key in KEYS}

_MET: Mapping[Need, Callable[[DatasetRules], bool]] = {
    "nothing": lambda rules: True,
    "images": lambda rules: "image" in rules.takes,
    "videos": lambda rules: "video" in rules.takes,
    "control": lambda rules: rules.control != "none",
    "targets": lambda rules: rules.multiple_target,
    "indices": lambda rules: rules.control == "each_index",
}


def uses(key: Key, rules: DatasetRules) -> bool:
    """Tell whether a model with these rules makes use of the key."""
    return _MET[key.needs](rules) or key.name in rules.keys


def used_keys(rules: DatasetRules) -> tuple[str, ...]:
    """Return the names of the keys that a model makes use of, without the deprecated ones."""
    return tuple(key.name for key in KEYS if uses(key, rules) and not key.now)


def taken(rules: DatasetRules) -> str:
    """Say what a model with these rules is trained on, such as "single images only"."""
    media = {"image": "images", "video": "videos"}
    said = " and ".join(media[medium] for medium in rules.takes)
    if rules.control != "none":
        return f"{said} with control images"
    return "single images only" if said == "images" and not rules.multiple_target else f"{said} only"
