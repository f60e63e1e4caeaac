"""The datasets' pictures and captions as they lie there, read once and then only what changed since.

Every change found gets a number, so that a browser asks for what is newer than what it has.
"""

import os
import re
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musabi.watch.page.behind import kept
from musabi.watch.page.caption_files import Caption, read_caption
from musabi.watch.page.dataset_pictures import Found, Group, Picture, find_pictures
from musabi.watch.page.inside import lies_in
from musabi.watch.page.scene import Scene
from musabi.watch.page.stamp import NONE, Stamp, stamp_of

SECONDS = 30.0
"""A caption that an editor writes in place does not change its folder: every so often each file is looked at."""
NAME = "dataset catalogue"
NUMBER = re.compile(r"[0-9]{1,15}")
LEADS_OUT = "This caption is a link to a file outside the workspace."


@dataclass
class Entry:
    """A picture as it was when last looked at; `number` is that of the newest change to it."""

    picture: Picture
    stamp: Stamp
    caption_stamp: Stamp
    caption: Caption
    number: int


@dataclass
class Catalogue:
    """What lies in the datasets. `number` counts changes, `listed` is that of the newest one to the list itself."""

    born: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    number: int = 0
    listed: int = 0
    found: Found = field(default_factory=lambda: Found(()))
    entries: dict[str, Entry] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _outline: object = None
    _names: object = None
    _until: float = 0.0

    @property
    def version(self) -> str:
        """Names this state, to a browser."""
        return f"{self.born}-{self.number}"

    def look(self, scene: Scene, *, anew: bool = False) -> "Catalogue":
        """Read what changed. Where no folder changed, files are looked at every SECONDS, or at once with `anew`."""
        with self._lock:
            watched = (
                scene.settings.dataset_config,
                *(path for group in self.found.groups for path in group.watched),
            )
            outline = [(path, stamp_of(path)) for path in watched]
            if anew or outline != self._outline or time.monotonic() >= self._until:
                self._look(scene)
                self._outline = outline
                self._until = time.monotonic() + SECONDS
        return self

    def since(self, version: str) -> dict[str, Any]:
        """Return what changed after a version as values for JSON: everything where that is none of this server's."""
        with self._lock:
            born, _, digits = version.partition("-")
            known = int(digits) if born == self.born and NUMBER.fullmatch(digits) else -1
            newer = {name: as_json(one) for name, one in self.entries.items() if one.number > known}
            changes: dict[str, Any] = {"version": self.version, "captions": newer}
            if self.listed > known:
                changes["groups"] = [group_json(group) for group in self.found.groups]
                changes["remark"] = self.found.remark
            return changes

    def _look(self, scene: Scene) -> None:
        found = self._found(scene)
        number = self.number + 1
        root = scene.space.root
        before = self.entries
        self.entries = {
            one.file: _entry(root, one, before.get(one.file), number)
            for group in found.groups
            for one in group.pictures
        }
        if found != self.found:
            self.found = found
            self.number = self.listed = number
        elif any(one.number == number for one in self.entries.values()):
            self.number = number

    def _found(self, scene: Scene) -> Found:
        """Return the list, made anew only where names or the dataset TOML changed."""
        config = scene.settings.dataset_config
        if self.found.groups and self._names == _names(config, self.found):
            return self.found
        found = find_pictures(scene.space.root, config, scene.space.images)
        self._names = _names(config, found)
        return found


def _names(config: Path, found: Found) -> object:
    watched = (path for group in found.groups for path in group.watched)
    return stamp_of(config), [(path, names_in(path)) for path in watched]


def _entry(root: Path, picture: Picture, old: Entry | None, number: int) -> Entry:
    stamp = stamp_of(picture.path)
    file = picture.caption_file
    caption_stamp = stamp_of(file) if file is not None else NONE
    if old is not None and (old.picture, old.stamp, old.caption_stamp) == (picture, stamp, caption_stamp):
        return old
    bare = file is not None and caption_stamp == NONE and not file.is_symlink()
    caption = Caption() if bare else _caption(root, picture)
    return Entry(picture, stamp, caption_stamp, caption, number)


def catalogue_of(scene: Scene) -> Catalogue:
    """Return the catalogue of a scene, which stays the same one."""
    return kept(scene.memory, NAME, Catalogue)


def names_in(path: Path) -> tuple[str, ...] | Stamp:
    """Return the names in a folder, in no order; of a file its stamp."""
    try:
        return tuple(sorted(one.name for one in os.scandir(path) if not one.name.startswith(".")))
    except OSError:
        return stamp_of(path)


def group_json(group: Group) -> dict[str, Any]:
    """Return a group as values for JSON."""
    return {"title": group.title, "remark": group.remark, "files": [one.file for one in group.pictures]}


def as_json(entry: Entry) -> dict[str, Any]:
    """Return a picture's caption as values for JSON; `v` changes when the picture does."""
    optional: Mapping[str, Any] = {
        "encoding": entry.caption.encoding,
        "problem": entry.caption.problem,
        "video": entry.picture.is_video,
        "fixed": entry.picture.caption_file is None,
    }
    return {
        "text": entry.caption.text,
        "hash": entry.caption.hash,
        "v": f"{entry.stamp[0]:x}.{entry.stamp[1]:x}",
        **{name: value for name, value in optional.items() if value},
    }


def without_text(entries: Iterable[Entry]) -> int:
    """Return how many have no caption, or an empty one."""
    return sum(not one.caption.text for one in entries)


def _caption(root: Path, picture: Picture) -> Caption:
    if picture.caption_file is None:
        return Caption(picture.fixed_caption)
    if not lies_in(picture.caption_file, root):
        return Caption(problem=LEADS_OUT)
    try:
        return read_caption(picture.caption_file)
    except OSError as problem:
        return Caption(problem=f"This caption can't be read: {problem.strerror}.")
