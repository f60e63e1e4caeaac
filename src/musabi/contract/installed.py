"""The surface of the checkout that is installed: read once, and then remembered as long as nothing changed."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from musabi import __version__
from musabi.contract.as_json import from_values, to_json
from musabi.contract.made_for import committed
from musabi.contract.sources import commit_of, content_fingerprint, entry_files, stamp
from musabi.contract.surface import Surface
from musabi.errors import MachineError
from musabi.whole import read_json, write_text

PACKAGE = Path("src") / "musubi_tuner"
CACHE_NAME = "contract.json"
"""The name of the cache file in a workspace's state folder."""


def installed_surface(checkout: Path, cache: Path | None = None, usual: Surface | None = None) -> Surface:
    """Return what the musubi-tuner in `checkout` accepts, from the file `cache` where it is still right.

    An unchanged checkout of the `usual` version (the committed one) is not parsed at all. The cache holds for
    a commit and for the sizes and times of the sources; one that can't be read or written is done without.

    Raises:
        MachineError: the checkout is not there, or can't be read.
    """
    package = checkout / PACKAGE
    if not package.is_dir():
        raise MachineError(f"musubi-tuner is not in {checkout}. Run musabi bootstrap to fetch it.")
    usual = usual or committed()
    known = _remembered(package, cache, usual)
    if known is not None:
        return known
    same = _holds_just(package, usual)
    surface = replace(usual, commit=commit_of(checkout)) if same else _read(package)
    if cache is not None:
        with suppress(OSError):
            write_text(cache, _memory(package, surface, usual, same), sync=False)
    return surface


def is_committed(surface: Surface) -> bool:
    """Tell whether a surface is that of the version that this package was made for."""
    return surface.fingerprint == committed().fingerprint


def _read(package: Path) -> Surface:
    from musabi.contract.read import read_surface

    return read_surface(package)


def _holds_just(package: Path, usual: Surface) -> bool:
    """Tell whether the package holds the very files of a surface, and no script besides."""
    known = set(entry_files(package)) <= set(usual.sources)
    return known and content_fingerprint(package, usual.sources) == usual.fingerprint


def _memory(package: Path, surface: Surface, usual: Surface, same: bool) -> str:
    values: dict[str, Any] = {"made_by": _maker(usual), "stamp": stamp(package, surface.sources)}
    text = json.dumps(values | {"commit": surface.commit, "surface": None})
    return text if same else text.replace("null", to_json(surface))


def _maker(usual: Surface) -> str:
    """Return what else a memory depends on: this package's version, and what it was made for."""
    return f"{__version__} {usual.fingerprint}"


def _remembered(package: Path, cache: Path | None, usual: Surface) -> Surface | None:
    values = None
    if cache is not None:
        with suppress(OSError):
            values = read_json(cache)
    if not isinstance(values, dict):
        return None
    try:
        if values["made_by"] != _maker(usual):
            return None
        held = values["surface"]
        surface = replace(usual, commit=values["commit"]) if held is None else from_values(held)
        return surface if values["stamp"] == stamp(package, surface.sources) else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
