"""The keys of a musubi-tuner dataset TOML, as data: their type, their place and what they are for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Place = Literal["general", "datasets"]
BOTH: tuple[Place, ...] = ("general", "datasets")
DATASETS: tuple[Place, ...] = ("datasets",)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wholes(value: object) -> bool:
    return isinstance(value, list) and all(_whole(entry) for entry in value)


@dataclass(frozen=True)
class Kind:
    """A type of value: what to call it in a message, and whether a value is of it."""

    name: str
    holds: Callable[[object], bool]


TEXT = Kind('text in quotes, such as "text"', lambda value: isinstance(value, str))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
WHOLE = Kind("a whole number", _whole)
COUNT = Kind(
    "a whole number of at least 1", lambda value: isinstance(value, int) and _whole(value) and value >= 1
)
DECIMAL = Kind("a number with a decimal point, such as 30.0", lambda value: isinstance(value, float))
WHOLES = Kind("a list of whole numbers", _wholes)
SIZE = Kind(
    "a number of pixels or [width, height]",
    lambda value: (
        COUNT.holds(value)
        or (isinstance(value, list) and len(value) == 2 and all(COUNT.holds(entry) for entry in value))
    ),
)


@dataclass(frozen=True)
class Key:
    """One key. `only_for` names what uses it where Z-Image does not."""

    name: str
    kind: Kind
    places: tuple[Place, ...] = DATASETS
    only_for: str = ""


VIDEO = "video datasets"
CONTROL = "models that take control images"
FRAMEPACK = "FramePack"

# musubi-tuner v0.3.4, dataset/config_utils.py; the last three are its deprecated names.
KEYS = (
    Key("resolution", SIZE, BOTH),
    Key("caption_extension", TEXT, BOTH),
    Key("batch_size", COUNT, BOTH),
    Key("num_repeats", COUNT, BOTH),
    Key("enable_bucket", FLAG, BOTH),
    Key("bucket_no_upscale", FLAG, BOTH),
    Key("cache_directory", TEXT),
    Key("image_directory", TEXT),
    Key("image_jsonl_file", TEXT),
    Key("multiple_target", FLAG, only_for="Qwen-Image-Layered"),
    Key("control_directory", TEXT, only_for=CONTROL),
    Key("no_resize_control", FLAG, only_for=CONTROL),
    Key("control_resolution", SIZE, only_for=CONTROL),
    Key("fp_latent_window_size", WHOLE, only_for=FRAMEPACK),
    Key("fp_1f_clean_indices", WHOLES, only_for=FRAMEPACK),
    Key("fp_1f_target_index", WHOLE, only_for=FRAMEPACK),
    Key("fp_1f_no_post", FLAG, only_for=FRAMEPACK),
    Key("video_directory", TEXT, only_for=VIDEO),
    Key("video_jsonl_file", TEXT, only_for=VIDEO),
    Key("target_frames", WHOLES, only_for=VIDEO),
    Key("frame_extraction", TEXT, only_for=VIDEO),
    Key("frame_stride", WHOLE, only_for=VIDEO),
    Key("frame_sample", WHOLE, only_for=VIDEO),
    Key("max_frames", WHOLE, only_for=VIDEO),
    Key("source_fps", DECIMAL, only_for=VIDEO),
    Key("flux_kontext_no_resize_control", FLAG, only_for=CONTROL),
    Key("qwen_image_edit_no_resize_control", FLAG, only_for=CONTROL),
    Key("qwen_image_edit_control_resolution", SIZE, only_for=CONTROL),
)
BY_NAME = {key.name: key for key in KEYS}
USED = tuple(key.name for key in KEYS if not key.only_for)
