"""Images that are there twice, side by side, so that a person keeps the best of each."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from musabi.watch.page.dataset_check import checker
from musabi.watch.page.dataset_place import name_of
from musabi.watch.page.html import render
from musabi.watch.page.scene import Scene
from musabi.watch.page.view import Query

MOST_GROUPS = 24
MOST_IN_GROUP = 6
TITLES = {"same": "The same file", "alike": "They look alike"}


def part(scene: Scene, _query: Query) -> str:
    """Return the groups of images that are the same or look alike; "" where there are none."""
    found = shown(scene, checker(scene).newest().report)
    return render("dataset_duplicates", found) if found["groups"] else ""


def shown(scene: Scene, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template shows: the first groups, and how many more there are."""
    found = groups(scene, report)
    every = sum(len(report.get(kind, ())) for kind in TITLES)
    return {"groups": found, "more": every - MOST_GROUPS if len(found) == MOST_GROUPS else 0}


def groups(scene: Scene, report: Mapping[str, Any], most: int = MOST_GROUPS) -> list[dict[str, Any]]:
    """Return the first groups of which at least two images are still there, those of equal files first."""
    found: list[dict[str, Any]] = []
    for kind, title in TITLES.items():
        for paths in report.get(kind, ()):
            if len(found) == most:
                return found
            tiles = list(islice(_tiles(scene, map(Path, paths)), MOST_IN_GROUP))
            if len(tiles) > 1:
                rest = len(paths) - MOST_IN_GROUP if len(tiles) == MOST_IN_GROUP else 0
                found.append({"title": title, "kind": kind, "tiles": tiles, "more": rest})
    return found


def _tiles(scene: Scene, paths: Iterable[Path]) -> Iterable[dict[str, Any]]:
    for path in paths:
        name = name_of(scene, path)
        try:
            status = path.stat()
        except OSError:
            continue
        if name:
            width, height = pixels(str(path), status.st_size, status.st_mtime_ns)
            size = f"{width} \u00d7 {height}" if width else ""
            yield {
                "file": name,
                "name": path.name,
                "bytes": status.st_size,
                "pixels": size,
                "area": width * height,
            }


@lru_cache(maxsize=2_000)
def pixels(path: str, _size: int, _changed: int) -> tuple[int, int]:
    """Return an image's stored width and height, (0, 0) where it can't be read; kept until the file changes."""
    from musabi.dataset.items import read_header

    try:
        width, height, _ = read_header(Path(path))
    except (OSError, ValueError, SyntaxError):
        return 0, 0
    return width, height
