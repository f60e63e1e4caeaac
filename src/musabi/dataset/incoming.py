"""What comes into a dataset: the kinds of files by their names, and what is said of those left out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from musabi.dataset.extensions import IMAGE_EXTENSIONS

Kind = Literal["image", "convert", "caption", "video", "junk", "archive", "other"]

# Pillow (with pillow-heif) reads these, the trainer does not.
CONVERTED_EXTENSIONS = frozenset(
    {".heic", ".heif", ".tif", ".tiff", ".gif", ".jfif", ".jp2", ".tga", ".psd", ".ico", ".ppm", ".pcx"}
)
VIDEO_EXTENSIONS = frozenset({".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v", ".mpg", ".mpeg"})
TEXT_EXTENSIONS = frozenset({".txt", ".caption", ".jsonl"})
ARCHIVE_EXTENSIONS = frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst"})
JUNK_NAMES = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"})

_KINDS: dict[str, Kind] = {
    **dict.fromkeys((extension.lower() for extension in IMAGE_EXTENSIONS), "image"),
    **dict.fromkeys(CONVERTED_EXTENSIONS, "convert"),
    **dict.fromkeys(TEXT_EXTENSIONS, "caption"),
    **dict.fromkeys(VIDEO_EXTENSIONS, "video"),
    **dict.fromkeys(ARCHIVE_EXTENSIONS, "archive"),
}
WANTED: frozenset[Kind] = frozenset({"image", "convert", "caption", "video"})
REASONS: dict[Kind, str] = {
    "archive": "is an archive inside the archive; unpack it and fetch it by itself",
    "other": "is no image, video or caption",
}
MOST_NAMED = 5


@dataclass(frozen=True)
class Raw:
    """A file that came in: the name that its source gives it (parts joined by /), and where it lies now."""

    name: str
    file: Path

    @property
    def pure(self) -> PurePosixPath:
        return PurePosixPath(self.name)

    @property
    def suffix(self) -> str:
        return self.pure.suffix.lower()

    @property
    def key(self) -> tuple[str, str]:
        """An image, its captions and nothing else share this: the folder and the stem."""
        return str(self.pure.parent), self.pure.stem


@dataclass(frozen=True)
class LeftOut:
    """A file that was not brought in (or not under its name), and why: `reason` goes on after the name."""

    name: str
    reason: str


@dataclass(frozen=True)
class Brought:
    """What came of bringing files into a dataset folder.

    `images`, `captions` and `videos` count files that are there now and came from this source, of which
    `already_there` were there before. `converted` counts images stored in another format, `renamed` holds
    (name in the source, name in the folder) where the folder had another file of that name.
    """

    folder: Path
    images: int = 0
    captions: int = 0
    videos: int = 0
    converted: int = 0
    already_there: int = 0
    renamed: tuple[tuple[str, str], ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return the outcome as values that JSON can hold."""
        return {
            **{name: value for name, value in vars(self).items() if isinstance(value, int)},
            "folder": str(self.folder),
            "renamed": [{"from": before, "to": after} for before, after in self.renamed],
            "left_out": [vars(one) for one in self.left_out],
        }


@dataclass
class Notes:
    """Collects what is left out on the way."""

    left_out: list[LeftOut] = field(default_factory=list)

    def add(self, name: str, reason: str) -> None:
        self.left_out.append(LeftOut(printable(name), reason))


def kind_of(name: str) -> Kind:
    """Return what a file of this name is taken for."""
    parts = PurePosixPath(name).parts
    if any(part.startswith(".") or part.lower() in JUNK_NAMES for part in parts):
        return "junk"
    return _KINDS.get(PurePosixPath(name).suffix.lower(), "other")


def wanted(name: str, notes: Notes) -> bool:
    """Tell whether a file of this name belongs into a dataset; notes why where a person would wonder."""
    kind = kind_of(name)
    if kind in REASONS:
        notes.add(name, REASONS[kind])
    return kind in WANTED


def printable(name: str) -> str:
    """Return a foreign name fit for a terminal: control characters and lone surrogates become "?"."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def in_words(brought: Brought) -> list[str]:
    """Return the outcome as lines for a person."""
    counts = [
        _count(brought.images, "image"),
        _count(brought.captions, "caption file"),
        *([_count(brought.videos, "video")] if brought.videos else []),
    ]
    lines = [f"{', '.join(counts)} in {brought.folder}."]
    if brought.already_there:
        lines.append(f"{_count(brought.already_there, 'file')} had been there before.")
    if brought.converted:
        lines.append(f"{_count(brought.converted, 'image')} converted to a format that the trainer reads.")
    if brought.renamed:
        shown = [f"{before} is {after}" for before, after in brought.renamed[:MOST_NAMED]]
        lines.append(f"Renamed, as other files have their names: {'; '.join(shown)}{_more(brought.renamed)}")
    return lines + _left_out_in_words(brought.left_out)


def _left_out_in_words(left_out: Sequence[LeftOut]) -> list[str]:
    reasons = Counter(one.reason for one in left_out)
    lines = []
    for reason, times in reasons.items():
        names = [one.name for one in left_out if one.reason == reason]
        lines.append(f"Left out, {times}: {', '.join(names[:MOST_NAMED])}{_more(names)} ({reason})")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _more(items: Iterable[object]) -> str:
    rest = len(list(items)) - MOST_NAMED
    return f" and {rest:,} more" if rest > 0 else ""
