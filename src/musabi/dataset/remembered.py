"""What was found in images that did not change since, so that a second check decodes nothing."""

import json
import time
from dataclasses import astuple
from pathlib import Path
from typing import Any

from musabi import whole
from musabi.dataset.decoding import Looked
from musabi.dataset.identity import SETTLED_NS

NAME = ".musabi-looked.json"
FORMAT = 1
MOST = 100_000
"""Images that one file remembers at most."""


class Remembered:
    """Findings by file, with its size and times as they were before it was read.

    They lie in a JSON file that may be lost at any time. Another Pillow may read other files: then nothing
    is remembered.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = whole.read_json(path)
        fits = isinstance(kept, dict) and kept.get("made") == _made() and isinstance(kept.get("images"), dict)
        self._kept: dict[str, list[Any]] = kept["images"] if fits else {}
        self._changed = False

    def recall(self, image: Path) -> Looked | None:
        """Return what was found in the image, or None where that is not known of the file as it is now."""
        kept = self._kept.get(str(image))
        try:
            if not kept or kept[:3] != stamp(image):
                return None
            return Looked(*kept[3:])
        except (OSError, TypeError):
            return None

    def learn(self, image: Path, seen: list[int], looked: Looked) -> None:
        """Note what was found; `seen` is the file's stamp from before it was read."""
        self._kept[str(image)] = [*seen, *astuple(looked)]
        self._changed = True

    def keep(self) -> None:
        """Write down what was learnt, where that can be. A file that changed just now is not trusted."""
        if not self._changed or not self._path.parent.parent.is_dir():
            return
        settled = time.time_ns() - SETTLED_NS
        lasting = {name: kept for name, kept in self._kept.items() if max(kept[1:3]) < settled}
        text = json.dumps(
            {"made": _made(), "images": dict(list(lasting.items())[-MOST:])}, separators=(",", ":")
        )
        try:
            whole.write_text(self._path, text)
        except OSError:
            return
        self._changed = False


def stamp(image: Path) -> list[int]:
    """Return what changes with a file: bytes, and the nanoseconds of its last two changes.

    Raises:
        OSError: the file is not there.
    """
    status = image.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def seen_now(image: Path) -> list[int]:
    """Return the file's stamp, one that no file has where it is gone."""
    try:
        return stamp(image)
    except OSError:
        return [-1, -1, -1]


def _made() -> str:
    import PIL

    return f"{FORMAT}, Pillow {PIL.__version__}"
