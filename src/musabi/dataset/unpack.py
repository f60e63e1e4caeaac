"""Brings an archive, a folder or a single file into a dataset folder: safe, whole and never over a file.

Whatever names and sizes a source claims, files are first written under numbers into a hidden folder, made
readable for the trainer there, and moved in under safe names when all of it is whole.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from musabi.dataset.archive import Limits, is_archive, take_out, unpacked_size
from musabi.dataset.convert_image import make_ready
from musabi.dataset.flatten import flatten
from musabi.dataset.incoming import Brought, Notes, Raw, kind_of, wanted
from musabi.dataset.placing import Folder, place
from musabi.dataset.staging import staging_beside
from musabi.errors import RequestError
from musabi.hub.room import require_room

SAY_EVERY = 500
# In a folder the name decides, since a .docx, .npz or .pt is a zip by its content.
UNPACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz")


class NothingUsableError(RequestError):
    """Nothing of a source belongs into a dataset."""


def unpack(
    source: Path,
    target: Path,
    *,
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    name: str | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Brought:
    """Bring what is in `source` (zip, tar, a folder or one image, video or caption) into the folder `target`.

    `name` is what the source is called where its file has another name. Files of a folder that are named
    as archives are unpacked, archives in an archive are left out.

    Raises:
        RequestError: the source is not there, is encrypted, broken, a bomb, or leads out of its folder, or
            nothing of it belongs into a dataset.
        MachineError: the disk has too little room.
        OSError: the folder can't be written.
    """
    if not source.exists():
        raise RequestError(f"{source} is not there. Name a zip, a folder, an image or an address.")
    notes = Notes()
    whole = source.is_dir()
    files = list(_walk(source, notes)) if whole else [(name or source.name, source)]
    return unpack_files(files, target, limits=limits, notes=notes, say=say, folder=whole)


def unpack_files(
    files: Sequence[tuple[str, Path]],
    target: Path,
    *,
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    notes: Notes | None = None,
    say: Callable[[str], None] = lambda _text: None,
    folder: bool = False,
) -> Brought:
    """Bring files, each with its name in the source (parts joined by /), into the folder `target`.

    One file is an archive by its content; several, or those of a `folder`, by their names as well.

    Raises:
        RequestError, MachineError, OSError: as `unpack`.
    """
    notes = notes or Notes()
    by_name = folder or len(files) > 1
    archives = {path for name, path in files if (not by_name or _named_archive(name)) and is_archive(path)}
    require_room(target, sum(unpacked_size(path) if path in archives else _size(path) for _, path in files))
    with staging_beside(target) as staging:
        raws: list[Raw] = []
        for number, (name, path) in enumerate(files):
            place = staging / f"{number:06d}"
            if path in archives:
                place.mkdir()
                above = str(PurePosixPath(name).with_suffix("")) if len(files) > 1 else ""
                raws += [_below(above, raw) for raw in take_out(path, place, limits, notes)]
            elif wanted(name, notes):
                shutil.copyfile(path, place)
                raws.append(Raw(name, place))
        return bring(raws, target, staging, notes, say)


def bring(
    raws: list[Raw],
    target: Path,
    staging: Path,
    notes: Notes,
    say: Callable[[str], None] = lambda _text: None,
) -> Brought:
    """Bring files that lie in `staging`, on the disk of `target`, into the folder `target`.

    Raises:
        NothingUsableError: none of them belongs into a dataset.
        OSError: the folder can't be written.
    """
    converted: set[Path] = set()
    ready: list[Raw] = []
    refused: set[tuple[str, str]] = set()
    for number, raw in enumerate(raws, start=1):
        made = make_ready(raw, staging, notes)
        if made is None:
            refused.add(raw.key)
            continue
        ready.append(made.raw)
        if made.converted:
            converted.add(made.raw.file)
        if number % SAY_EVERY == 0:
            say(f"looked at {number:,} of {len(raws):,} files")
    groups = flatten(_without_image(ready, refused, notes), notes)
    if not any(group.files for group in groups):
        raise NothingUsableError(_nothing(notes))
    target.mkdir(parents=True, exist_ok=True)
    return place(groups, Folder.look(target), converted, notes)


def _named_archive(name: str) -> bool:
    return name.lower().endswith(UNPACKED) and kind_of(name) != "junk"


def _walk(folder: Path, notes: Notes) -> Iterator[tuple[str, Path]]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted([*files, *(one for one in folders if (Path(parent) / one).is_symlink())]):
            path = Path(parent) / name
            inner = os.fsencode(path.relative_to(folder)).decode("utf-8", errors="replace")
            if path.is_symlink():
                notes.add(inner, "is a link; copy the file itself there")
            elif path.is_file():
                yield inner, path


def _without_image(ready: list[Raw], refused: set[tuple[str, str]], notes: Notes) -> Iterator[Raw]:
    """Yield the files but for captions of images that were refused and have no other image."""
    pictured = {raw.key for raw in ready if kind_of(raw.name) != "caption"}
    for raw in ready:
        if kind_of(raw.name) == "caption" and raw.key in refused - pictured:
            notes.add(raw.name, "is the caption of an image that was left out")
        else:
            yield raw


def _nothing(notes: Notes) -> str:
    reasons = dict.fromkeys(f"{one.name} {one.reason}" for one in notes.left_out[:3])
    said = f" ({'; '.join(reasons)})" if reasons else ""
    return f"It holds no image, video or caption that can be used{said}. Nothing was brought in."


def _size(path: Path) -> int:
    return path.stat().st_size


def _below(above: str, raw: Raw) -> Raw:
    return Raw(f"{above}/{raw.name}", raw.file) if above else raw
