"""Prints what argparse itself knows of scripts: run as a program, by any Python, with only the standard library.

python real_parsers.py PACKAGE_FOLDER SCRIPT...    prints {"script.py": [argument, ...]} as the last line

Each script runs up to where it parses its arguments. The trainer's own package is told of a GPU that is
not there, without which some of its scripts can't be imported.
"""

import argparse
import enum
import json
import runpy
import sys
from pathlib import Path
from typing import Any


class ParsedError(BaseException):
    """The script parses its arguments here."""


def stop(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> Any:
    raise ParsedError([described(action) for action in parser._actions])


def described(action: argparse.Action) -> dict[str, Any]:
    kind = action.type
    return {
        "flags": list(action.option_strings) or [action.dest],
        "dest": action.dest,
        "type": "str"
        if kind is None
        else getattr(kind, "__name__", "?").strip("_").replace("<lambda>", "lambda"),
        "nargs": action.nargs,
        "choices": None if action.choices is None else [plain(choice) for choice in action.choices],
        "default": plain(action.default),
        "required": action.required,
    }


def plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def parsers(package: Path, scripts: list[str]) -> dict[str, Any]:
    """Return what each script's parser knows; raises what a script raises that can't be imported."""
    sys.path[:0] = [str(package.parent), str(package)]
    if (package / "wan").is_dir():
        import torch

        torch.cuda.current_device = lambda: 0
    argparse.ArgumentParser.parse_args = stop  # type: ignore[assignment]
    argparse.ArgumentParser.parse_known_args = stop  # type: ignore[assignment]
    found: dict[str, Any] = {}
    for script in scripts:
        sys.argv = [script]
        try:
            runpy.run_path(str(package / script), run_name="__main__")
        except ParsedError as parsed:
            found[script] = parsed.args[0]
    return found


if __name__ == "__main__":
    print(json.dumps(parsers(Path(sys.argv[1]), sys.argv[2:])))
