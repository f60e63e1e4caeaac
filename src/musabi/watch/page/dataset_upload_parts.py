"""Files on their way from a browser to the dataset: parts on the volume, so that one goes on after any break.

A part's name is made of what the browser says of the file, so the same file chosen again finds its part.
"""

import contextlib
import hashlib
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from musabi import whole
from musabi.dataset.incoming import WANTED, kind_of, printable
from musabi.dataset.safe_names import escapes, safe_stem
from musabi.dataset.unpack import UNPACKED
from musabi.errors import MachineError, RequestError
from musabi.hub.listing import gigabytes
from musabi.hub.room import require_room
from musabi.job.os_errors import DISK_FULL

CHUNK = 4 * 1024**2
"""Bytes that a browser sends at once: a request through JupyterLab's proxy may have about 100 MB and 100 s."""
MOST_BYTES = 50_000_000_000
MOST_LETTERS = 500
KEPT_SECONDS = 24 * 3600
_WRITING = threading.Lock()


@dataclass(frozen=True)
class Coming:
    """What a browser says of a file: its name (parts joined by /), its bytes, its last change in ms."""

    name: str
    size: int
    modified: int

    @property
    def id(self) -> str:
        told = json.dumps([self.name, self.size, self.modified])
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Misfit(RequestError):  # noqa: N818 - an answer more than an error: the browser goes on from `offset`
    """A chunk that does not begin where the part ends; `offset` is where that is."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"{offset:,} bytes are here. Go on from there.")
        self.offset = offset


def coming_of(told: Mapping[str, object]) -> Coming:
    """Return the file that is told of.

    Raises:
        RequestError: it can't come into a dataset: its name, its kind or its size.
    """
    name = str(told.get("name", ""))
    shown = printable(name[-80:])
    slashed = name.replace("\\", "/")
    odd = "\0" in name or not _is_text(name)
    if not name or len(name) > MOST_LETTERS or odd or escapes(slashed) or kind_of(slashed) == "junk":
        raise RequestError(f'"{shown}" can\'t be the name of a file of the dataset. Name it otherwise.')
    kind = kind_of(name)
    if kind not in WANTED and not (kind == "archive" and name.lower().endswith(UNPACKED)):
        if kind == "archive":
            raise RequestError(f"{shown} can't be unpacked here. Make a zip or a tar of it.")
        raise RequestError(f"{shown} is no image, video, caption or archive.")
    try:
        size, modified = int(str(told.get("size"))), int(str(told.get("modified", 0)))
    except ValueError:
        raise RequestError(f"The size of {shown} can't be read. Load the page again.") from None
    if size < 0 or size > MOST_BYTES:
        raise RequestError(f"{shown} is larger than {gigabytes(MOST_BYTES)}. Use musabi fetch in a terminal.")
    return Coming(name, size, modified)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def part_of(folder: Path, coming: Coming) -> Path:
    """Return the file that holds what has come of it."""
    return folder / f"{coming.id}.part"


def bytes_here(folder: Path, coming: Coming) -> int:
    """Return how many bytes of the file are here."""
    try:
        return part_of(folder, coming).stat().st_size
    except FileNotFoundError:
        return 0


def append(folder: Path, coming: Coming, offset: int, piece: bytes) -> int:
    """Write a chunk that begins at `offset`; return how many bytes are here then. All of it is written, or none.

    Raises:
        Misfit: the chunk does not begin where the part ends.
        RequestError: it goes beyond the file's end.
        MachineError: the disk is full.
        OSError: the disk can't be written.
    """
    with _WRITING:
        here = bytes_here(folder, coming)
        if offset != here:
            raise Misfit(here)
        if offset + len(piece) > coming.size:
            raise RequestError(f"More came of {printable(coming.name)} than it has bytes. Choose it again.")
        if offset == 0:
            require_room(folder, coming.size)
            _note(folder, coming)
        _write(part_of(folder, coming), offset, piece)
        return offset + len(piece)


def _write(part: Path, offset: int, piece: bytes) -> None:
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        left = memoryview(piece)
        try:
            while left:
                left = left[os.pwrite(handle, left, offset + len(piece) - len(left)) :]
        except OSError as problem:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, offset)
            if problem.errno in DISK_FULL:
                raise MachineError(
                    f"The disk of {part.parent} is full. Make room, then go on with the upload."
                ) from problem
            raise
    finally:
        os.close(handle)


def _note(folder: Path, coming: Coming) -> None:
    """Write down what is coming, for a tab that is opened later."""
    try:
        whole.write_json(folder / f"{coming.id}.json", asdict(coming), sync=False)
    except OSError as problem:
        if problem.errno not in DISK_FULL:
            raise
        raise MachineError(
            f"The disk of {folder} is full. Make room, then go on with the upload."
        ) from problem


def drop(folder: Path, coming: Coming) -> None:
    """Forget a file and what has come of it."""
    for ending in ("part", "json"):
        (folder / f"{coming.id}.{ending}").unlink(missing_ok=True)


def unfinished(folder: Path) -> list[tuple[Coming, int]]:
    """Return the files of which something is here, and how many bytes; the newest first."""
    found = []
    for note in sorted(folder.glob("*.json"), key=_changed, reverse=True):
        told = whole.read_json(note)
        with contextlib.suppress(RequestError, AttributeError):
            coming = coming_of(told)
            if coming.id == note.stem and part_of(folder, coming).exists():
                found.append((coming, bytes_here(folder, coming)))
    return found


def sweep(folder: Path, now: float | None = None) -> None:
    """Remove what nobody went on with for a day."""
    stale = (time.time() if now is None else now) - KEPT_SECONDS
    for entry in folder.glob("*"):
        if _changed(entry) > stale or (entry.suffix == ".json" and entry.with_suffix(".part").exists()):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
            entry.with_suffix(".json").unlink(missing_ok=True)


def _changed(entry: Path) -> float:
    try:
        return entry.lstat().st_mtime
    except OSError:
        return 0.0


@dataclass(frozen=True)
class Batch:
    """Whole files in a folder of their own under their names, ready to be brought in."""

    folder: Path
    moved: tuple[tuple[Path, Path], ...]

    def remove(self) -> None:
        """Remove the files: they are in the dataset, or can't be used."""
        for part, _ in self.moved:
            part.with_suffix(".json").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def put_back(self) -> None:
        """Make parts of the files again, so that another try needs no upload."""
        for part, file in self.moved:
            with contextlib.suppress(FileNotFoundError):
                file.replace(part)
        shutil.rmtree(self.folder, ignore_errors=True)


def gather(folder: Path, files: Sequence[Coming]) -> Batch:
    """Move whole files into a folder of their own.

    Raises:
        RequestError: one of them is not whole, or there is none.
    """
    if not files:
        raise RequestError("No file came. Choose some and try again.")
    for coming in files:
        if not part_of(folder, coming).is_file() or bytes_here(folder, coming) != coming.size:
            raise RequestError(f"{printable(coming.name)} is not whole yet. Choose it again to go on.")
    place = folder / f"{uuid.uuid4().hex}.batch"
    moved = tuple(
        (part_of(folder, coming), place / name)
        for coming, name in zip(files, places([coming.name for coming in files]), strict=True)
    )
    batch = Batch(place, moved)
    try:
        for part, file in moved:
            file.parent.mkdir(parents=True, exist_ok=True)
            part.replace(file)
    except OSError:
        batch.put_back()
        raise
    return batch


def places(names: Sequence[str]) -> list[str]:
    """Return relative paths for files of these names that no two share: of equal ones all but the first get a
    folder with a number."""
    taken: set[str] = set()
    found = []
    for name in names:
        pure = PurePosixPath(name.replace("\\", "/"))
        above = [safe_stem(part) for part in pure.parts[:-1]]
        plain = "/".join([*above, safe_stem(pure.stem) + pure.suffix])
        path, number = plain, 1
        while path.casefold() in taken:
            number += 1
            path = f"{number}/{plain}"
        taken.add(path.casefold())
        found.append(path)
    return found
