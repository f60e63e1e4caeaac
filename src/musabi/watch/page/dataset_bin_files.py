"""The bin of a dataset: a hidden folder in it, which no scan and no trainer looks into.

An image goes there with its caption, into a folder of its own whose name is the moment, and comes back under a name
that nothing else has.
"""

import contextlib
import itertools
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from musabi.dataset.incoming import kind_of
from musabi.dataset.placing import NO_LINKS
from musabi.errors import RequestError
from musabi.watch.page.dataset_place import DatasetFolder
from musabi.whole import claim_and_rename

NAME = ".bin"
ENTRY = re.compile(r"\d{8}-\d{6}-\d{1,6}")


@dataclass(frozen=True)
class Binned:
    """What was put into the bin in one go: an image with its caption, or one of them. `when` is Unix seconds."""

    id: str
    folder: Path
    files: tuple[Path, ...]
    when: float

    @property
    def name(self) -> str:
        return next((file.name for file in self.files if kind_of(file.name) != "caption"), self.files[0].name)

    @property
    def with_caption(self) -> bool:
        return len(self.files) > 1


def put_away(folder: DatasetFolder, file: Path, now: float | None = None) -> Binned:
    """Move an image with its caption into the bin: both, or nothing.

    The caption stays where another image of this stem needs it.

    Raises:
        RequestError: the file is not there, or a JSONL file names it.
        OSError: the folder can't be written.
    """
    if folder.jsonl is not None:
        raise RequestError(f"{file.name} is named in {folder.jsonl}. Take its line out there first.")
    if not file.is_file():
        raise RequestError(f"{file.name} is not there any more.")
    now = time.time() if now is None else now
    caption = file.with_suffix(folder.caption_extension)
    # The image first: killed in between, its caption is found again when it is restored.
    files = [file, *([caption] if caption != file and caption.is_file() and _alone(file) else [])]
    place = _new_entry(file.parent / NAME, now)
    moved: list[tuple[Path, Path]] = []
    try:
        for one in files:
            one.rename(place / one.name)
            moved.append((one, place / one.name))
    except OSError:
        for before, after in reversed(moved):
            _move_without_overwriting(after, before)
        with contextlib.suppress(OSError):
            place.rmdir()
        raise
    return Binned(place.name, place, tuple(after for _, after in moved), now)


def _alone(file: Path) -> bool:
    """Tell whether no other picture or video has this stem."""
    others = file.parent.glob(f"{_literal(file.stem)}.*")
    return all(one == file or kind_of(one.name) not in {"image", "convert", "video"} for one in others)


def _literal(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)


def _new_entry(bin_folder: Path, now: float) -> Path:
    moment = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    bin_folder.mkdir(exist_ok=True)
    for number in itertools.count(1):
        place = bin_folder / f"{moment}-{number}"
        with contextlib.suppress(FileExistsError):
            place.mkdir()
            return place
    raise AssertionError  # count() has no end


def binned(folder: Path) -> list[Binned]:
    """Return what is in the bin of a dataset folder, the newest first."""
    found = []
    try:
        entries = [entry for entry in os.scandir(folder / NAME) if ENTRY.fullmatch(entry.name)]
    except OSError:
        return []
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            files = tuple(sorted(file for file in Path(entry.path).iterdir() if file.is_file()))
            if files:
                found.append(Binned(entry.name, Path(entry.path), files, entry.stat().st_mtime))
    return sorted(found, key=_moment, reverse=True)


def _moment(one: Binned) -> tuple[str, int]:
    moment, _, number = one.id.rpartition("-")
    return moment, int(number)


def restore(one: Binned, target: Path) -> list[str]:
    """Move what was binned back into the folder; return the names that it has there now. Nothing is overwritten.

    Where its name is taken it gets another, -2 or -3 after it, and its caption with it.

    Raises:
        OSError: the folder can't be written.
    """
    for number in itertools.count(1):
        pairs = [(file, target / _numbered(file.name, number)) for file in one.files]
        if any(_taken(*pair) for pair in pairs) or not _free(pairs, target):
            continue
        moved: list[tuple[Path, Path]] = []
        try:
            for before, after in reversed(pairs):  # the caption first: an image without one is trained on
                _move_without_overwriting(before, after)
                moved.append((before, after))
        except FileExistsError:
            _back(moved)
            continue
        except OSError:
            _back(moved)
            raise
        with contextlib.suppress(OSError):
            one.folder.rmdir()
        return [after.name for _, after in pairs]
    raise AssertionError  # count() has no end


def _taken(before: Path, after: Path) -> bool:
    """Tell whether another file has the name; a kill while it was restored leaves the very same file there."""
    return os.path.lexists(after) and not (after.exists() and after.samefile(before))


def _free(pairs: Sequence[tuple[Path, Path]], target: Path) -> bool:
    """Tell whether an image under the new name would take no other image's caption or cache files."""
    image = next((after for _, after in pairs if kind_of(after.name) != "caption"), None)
    return image is None or _alone(target / image.name)


def _back(moved: Iterable[tuple[Path, Path]]) -> None:
    for before, after in moved:
        _move_without_overwriting(after, before)


def _numbered(name: str, number: int) -> str:
    path = Path(name)
    return name if number == 1 else f"{path.stem}-{number}{path.suffix}"


def _move_without_overwriting(source: Path, target: Path) -> None:
    """Rename, but never over a file. Where the disk knows no hard links, the name is claimed first.

    Raises:
        FileExistsError: the name is taken.
        OSError: the folder can't be written.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        if not target.samefile(source):
            raise
    except OSError as problem:
        if problem.errno not in NO_LINKS:
            raise
        claim_and_rename(source, target)
        return
    source.unlink()
