"""Moves files into a dataset folder and never over anything that lies there."""

import errno
import filecmp
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from musabi.dataset.flatten import Group
from musabi.dataset.incoming import Brought, Notes, Raw, kind_of, printable
from musabi.dataset.safe_names import safe_stem
from musabi.whole import claim_and_rename

NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EACCES})
KEPT = "the dataset has another caption for this very image, which was kept"


@dataclass
class Folder:
    """A dataset folder and the names in it, spelled in any case, by stem."""

    path: Path
    by_stem: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def look(cls, path: Path) -> "Folder":
        """Read the names of an existing folder."""
        found = cls(path)
        for entry in os.scandir(path):
            found.add(entry.name)
        return found

    def add(self, name: str) -> None:
        self.by_stem.setdefault(Path(name).stem.casefold(), set()).add(name)

    def under(self, stem: str) -> set[str]:
        """Return the names of files with this stem, in any spelling."""
        return self.by_stem.get(stem.casefold(), set())


def place(groups: Iterable[Group], folder: Folder, converted: set[Path], notes: Notes) -> Brought:
    """Move every group into the folder and return what is there now.

    A kill leaves whole files under their final names; doing it again finds those and goes on.
    """
    counts = {"image": 0, "caption": 0, "video": 0}
    there = changed = 0
    renamed = []
    for group in groups:
        stem = _stem_for(group, folder, notes)
        for raw, suffix in group.files:
            if stem != safe_stem(raw.pure.stem):
                renamed.append((printable(raw.name), f"{stem}{suffix}"))
            placed = _put(raw, folder, f"{stem}{suffix}")
            there += not placed
            changed += raw.file in converted
            counts["caption" if (kind := kind_of(raw.name)) not in counts else kind] += 1
    return Brought(
        folder.path,
        images=counts["image"],
        captions=counts["caption"],
        videos=counts["video"],
        converted=changed,
        already_there=there,
        renamed=tuple(renamed),
        left_out=tuple(notes.left_out),
    )


def _stem_for(group: Group, folder: Folder, notes: Notes) -> str:
    """Return the first name of the group's that nothing else has: its own, or with -2, -3, ... after it."""
    stem, number = group.stem, 1
    while not _fits(group, stem, folder):
        number += 1
        stem = f"{group.stem}-{number}"
    for raw, suffix in group.files:
        if _edited(group, raw, suffix, stem, folder):
            notes.add(raw.name, KEPT)
    return stem


def _fits(group: Group, stem: str, folder: Folder) -> bool:
    mine = {f"{stem}{suffix}": raw for raw, suffix in group.files}
    pictures = [name for name in mine if kind_of(name) == "image"]
    for name in folder.under(stem):
        if name in mine:
            if not _same(mine[name].file, folder.path / name) and not _image_is_there(group, stem, folder):
                return False
        elif name.casefold() in {one.casefold() for one in mine} or (pictures and kind_of(name) == "image"):
            return False  # another spelling, or an image that would share its cache file
    return True


def _image_is_there(group: Group, stem: str, folder: Folder) -> bool:
    """Tell whether the group's image lies in the folder under this name: then captions are a person's edits."""
    images = [(raw, suffix) for raw, suffix in group.files if kind_of(raw.name) == "image"]
    return bool(images) and all(
        f"{stem}{suffix}" in folder.under(stem) and _same(raw.file, folder.path / f"{stem}{suffix}")
        for raw, suffix in images
    )


def _edited(group: Group, raw: Raw, suffix: str, stem: str, folder: Folder) -> bool:
    name = f"{stem}{suffix}"
    return name in folder.under(stem) and not _same(raw.file, folder.path / name)


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(one, other, shallow=False)


def _put(raw: Raw, folder: Folder, name: str) -> bool:
    """Give the file its name in the folder; return False where that name is taken (by the same content)."""
    if name in folder.under(Path(name).stem):
        return False
    source, target = raw.file, folder.path / name
    if source.stat().st_nlink > 1:  # a caption of two images: an edit of one must not show in the other
        source = Path(shutil.copyfile(source, source.with_name(f"{source.name}-for-{name}")))
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        try:
            _copy_into_place(source, target)
        except FileExistsError:
            return False
    folder.add(name)
    return True


def _copy_into_place(file: Path, target: Path) -> None:
    """Copy where no hard link can be made: whole under a hidden name first.

    The name is claimed before, so that the rename goes over nothing but this call's own empty file.

    Raises:
        FileExistsError: another file has the name by now.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        shutil.copyfile(file, part)
        claim_and_rename(part, target)
    finally:
        part.unlink(missing_ok=True)
