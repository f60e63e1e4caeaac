"""Made-up packages of scripts, and what was read of a script in the words of small/real_parsers.py."""

from pathlib import Path
from textwrap import dedent
from typing import Any

from musabi.contract import Option, Script, Surface, read_surface
from musabi.contract.parser import shown_default

SCHEMA = """
    import functools

    class ConfigSanitizer:
        @staticmethod
        def __pair_or_twodim(kind, value):
            return value

        DATASET_ASCENDABLE_SCHEMA = {
            "batch_size": int,
            "resolution": functools.partial(__pair_or_twodim.__func__, int),
            "enable_bucket": bool,
        }
        IMAGE_DATASET_DISTINCT_SCHEMA = {"image_directory": str, "no_resize_control": bool}
        VIDEO_DATASET_DISTINCT_SCHEMA = {"video_directory": str, "target_frames": [int], "source_fps": float}

        def __init__(self):
            self.image_dataset_schema = self.__merge_dict(
                self.DATASET_ASCENDABLE_SCHEMA, self.IMAGE_DATASET_DISTINCT_SCHEMA
            )
            self.video_dataset_schema = self.__merge_dict(
                self.DATASET_ASCENDABLE_SCHEMA, self.VIDEO_DATASET_DISTINCT_SCHEMA
            )
            self.general_schema = self.__merge_dict(self.DATASET_ASCENDABLE_SCHEMA)

    def load_user_config(file):
        deprecated_key_map = {"old_no_resize_control": "no_resize_control"}
"""


def write_package(root: Path, files: dict[str, str]) -> Path:
    """Write a checkout with the package musubi_tuner of these files; return the package."""
    package = root / "src" / "musubi_tuner"
    for name, text in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    return package


def surface_of(root: Path, files: dict[str, str]) -> Surface:
    """Return the surface of a made-up package."""
    return read_surface(write_package(root, files))


def described(script: Script) -> list[dict[str, Any]]:
    """Return a script's arguments as real_parsers.py prints them."""
    return [_described(option) for option in script.each()]


def _described(option: Option) -> dict[str, Any]:
    return {
        "flags": list(option.flags),
        "dest": option.dest,
        "type": option.type,
        "nargs": 0 if option.switch else option.nargs,
        "choices": None if option.choices is None else list(option.choices),
        "default": option.default,
        "required": option.required,
    }


def comparable(argument: dict[str, Any]) -> dict[str, Any]:
    """Return what argparse says in the form that is kept: prose as a fingerprint, no default for --help."""
    default = None if argument["default"] == "==SUPPRESS==" else argument["default"]
    return argument | {"default": shown_default(default)}
