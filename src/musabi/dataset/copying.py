"""Copies the pictures and captions of one folder into another, mending what can be mended."""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from musabi.dataset.decoding import Looked
from musabi.dataset.encodings import read_text
from musabi.dataset.extensions import IMAGE_EXTENSIONS
from musabi.dataset.items import why_unreadable
from musabi.dataset.sniffing import what_it_is
from musabi.dataset.upright import Opened, open_picture, save_mended

CLASHING = "renamed, as another image has its name"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Source:
    """A picture to copy, and its caption as bytes (None: it has none)."""

    picture: Path
    caption: bytes | None = None


@dataclass(frozen=True)
class Change:
    """A file that is otherwise in the copy: its name there, and in words what was done."""

    source: Path
    name: str
    what: tuple[str, ...]


@dataclass
class Outcome:
    """What came of copying: images in the copy, those that are otherwise, those left out and why."""

    images: int = 0
    changes: list[Change] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Copying:
    """How one folder is copied. `seen` is what a check found in its images.

    `rename`: of pictures that share a stem all but the first get a new one; else these are left out, as names
    pair them with others. `keep_alpha`: the model trains transparency. `copied` is called after each picture.
    """

    target: Path
    caption_extension: str
    seen: Mapping[Path, Looked]
    rename: bool
    keep_alpha: bool
    copied: Callable[[], None] = lambda: None


def copy_pictures(sources: Sequence[Source], how: Copying, outcome: Outcome) -> None:
    """Copy the pictures into the folder `how.target`, which is made, and note what came of it.

    Raises:
        OSError: the folder can't be written.
    """
    how.target.mkdir(parents=True)
    taken: set[str] = set()
    for source in sources:
        _copy_with_caption(source, how, taken, outcome)
        how.copied()


def _copy_with_caption(source: Source, how: Copying, taken: set[str], outcome: Outcome) -> None:
    stem = _free(source.picture.stem, taken)
    clashes = stem != source.picture.stem
    if clashes and not how.rename:
        outcome.left_out.append((source.picture, "shares its name with another image; rename one of them"))
        return
    copied = _copy(source, how, stem, outcome)
    if copied is None:
        return
    taken.add(stem.casefold())
    outcome.images += 1
    name, mends = copied
    mends = (*mends, *((CLASHING,) if clashes else ()), *_write_caption(source, how, stem))
    if mends:
        outcome.changes.append(Change(source.picture, name, mends))


def _copy(source: Source, how: Copying, stem: str, outcome: Outcome) -> tuple[str, tuple[str, ...]] | None:
    """Copy one picture; return its name there and what was mended, None where it can't be read."""
    image = source.picture
    if _is_fine(how.seen.get(image), image, keep_alpha=how.keep_alpha):
        shutil.copyfile(image, how.target / f"{stem}{image.suffix}")
        return f"{stem}{image.suffix}", ()
    opened = _opened(image, how, outcome)
    if opened is None:
        return None
    name = f"{stem}{opened.suffix}"
    if opened.stored_anew:
        save_mended(opened, how.target / name, keep_alpha=how.keep_alpha)
    else:
        shutil.copyfile(image, how.target / name)
    return name, opened.mends


def _opened(image: Path, how: Copying, outcome: Outcome) -> Opened | None:
    try:
        return open_picture(image, keep_alpha=how.keep_alpha)
    except Exception as error:  # Pillow's decoders raise many kinds on broken files
        outcome.left_out.append((image, what_it_is(image) or why_unreadable(error)))
        return None


def _is_fine(looked: Looked | None, image: Path, *, keep_alpha: bool) -> bool:
    """Tell whether the trainer reads the picture right as it is, by what a check found."""
    if looked is None or looked.reason or image.suffix not in IMAGE_EXTENSIONS:
        return False
    odd = looked.turned or looked.frames > 1 or looked.mode.startswith(("I", "F")) or looked.mode == "CMYK"
    return not odd and (keep_alpha or not looked.clear)


def _write_caption(source: Source, how: Copying, stem: str) -> tuple[str, ...]:
    """Write the caption as plain UTF-8; return what was mended in it."""
    if source.caption is None:
        return ()
    text, encoding = read_text(source.caption)
    clean = _CONTROL.sub("", text)
    file = how.target / f"{stem}{how.caption_extension}"
    if encoding == "UTF-8" and clean == text:
        file.write_bytes(source.caption)
        return ()
    file.write_text(clean.strip() + "\n", encoding="utf-8")
    return (
        f"caption saved as UTF-8, was {encoding}"
        if encoding != "UTF-8"
        else "caption without control characters",
    )


def _free(stem: str, taken: set[str]) -> str:
    """Return the stem, or with -2, -3, ... after it the first that is free, whatever its case."""
    name, number = stem, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}"
    return name
