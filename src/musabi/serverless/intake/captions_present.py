"""Makes the captions that came with a dataset what trainers read: UTF-8, in a .txt, and never empty."""

from collections.abc import Callable
from pathlib import Path

from musabi.dataset.encodings import read_text
from musabi.dataset.incoming import kind_of
from musabi.whole import write_text

MOST_CAPTION = 1024 * 1024
"""Bytes of a caption file that are too many for one."""


def settle_captions(folder: Path, say: Callable[[str], None]) -> None:
    """Rename .caption to .txt where there is none, store other encodings as UTF-8, remove what is empty."""
    for path in sorted(folder.glob("*.caption")):
        plain = path.with_suffix(".txt")
        if plain.exists():
            path.unlink()
        else:
            path.rename(plain)
    for path in sorted(folder.glob("*.txt")):
        if path.stat().st_size > MOST_CAPTION:
            say(f"{path.name} is too large for a caption and was left out")
            path.unlink()
            continue
        text, encoding = read_text(path.read_bytes())
        if not text.strip():
            path.unlink()
        elif encoding != "UTF-8":
            say(f"{path.name} was {encoding} and is stored as UTF-8 now")
            write_text(path, text, sync=False)


def uncaptioned(folder: Path) -> list[Path]:
    """Return the images and videos of a folder that have no caption, by name."""
    return [
        path
        for path in sorted(folder.iterdir())
        if kind_of(path.name) in ("image", "video") and not path.with_suffix(".txt").is_file()
    ]
