"""What the endpoint knows of the weights that it fetched: which files, how large, and when they were used last.

    ROOT/.musabi/models/sets/NAME.json   one set: its unit, whether it is complete, its files with size and checksum
    ROOT/.musabi/models/used/UNIT        touched whenever a job uses the unit

Paths are kept relative to ROOT/models: a volume is mounted elsewhere on a pod than in a worker.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musabi.hub.fetch import Record, whole
from musabi.hub.weights import Places as HubPlaces
from musabi.hub.weights import Wanted
from musabi.serverless.models.eviction import Kept
from musabi.serverless.models.found import Spot, cached, whole_at
from musabi.serverless.models.locks import key
from musabi.serverless.models.sources import FileSet
from musabi.serverless.places import Places
from musabi.whole import read_json, write_json

DERIVED = "native"
"""Folder beside an adapter that holds musabi's own copy of it (engines/lora_steps.py); it goes with the adapter."""


@dataclass(frozen=True)
class TreePlaces(HubPlaces):
    """Places of repos whose own folders are kept."""

    def final(self, wanted: Wanted, path: str, commit: str) -> Path:
        """Return the final name of the file at `path` of the repo."""
        if wanted.folder is None:
            return super().final(wanted, path, commit)
        return self.models / wanted.folder / path


class Ledger:
    """The endpoint's own weights: what is known of them, and what lies there."""

    def __init__(self, places: Places) -> None:
        self.models = places.models
        self.hub_cache = places.hf_home / "hub"
        self.folder = places.state / "models"

    def places(self, one: FileSet) -> HubPlaces:
        """Return where the files of a set go."""
        return (TreePlaces if one.tree else HubPlaces)(self.models, self.hub_cache)

    def here(self, one: FileSet) -> Path | None:
        """Return what a trainer is given of a set of our own, or None unless all of it is there.

        Files that somebody else put under our names count where they are whole.
        """
        if one.in_hub_cache:
            spot = next(cached(self.hub_cache, one.wanted.repo, one.wanted.revision), None)
            there = spot is not None and all(spot.place(path).is_file() for path in one.must)
            return spot.place(one.must[0]) if spot is not None and there else None
        folder = self.models / one.unit
        noted = self._noted(one.wanted.name)
        if not noted:
            return whole_at(one, one.must, Spot(folder, flat=not one.tree))
        if not noted.get("complete") or not whole(one.wanted, self.places(one), self.known(one)):
            return None
        return folder if one.tree or one.as_folder else Spot(folder, flat=True).place(one.must[0])

    def known(self, one: FileSet) -> dict[str, Record]:
        """Return what is remembered of a set's files, by their paths here."""
        files = self._noted(one.wanted.name).get("files", {})
        return {str(self.models / path): record for path, record in files.items()}

    def begin(self, one: FileSet) -> None:
        """Note that a set is on its way; what a killed worker leaves of it can then be told from a live one's."""
        if not one.in_hub_cache:
            noted = self._noted(one.wanted.name)
            about = {"unit": one.unit, "complete": False, "files": noted.get("files", {})}
            write_json(self._file(one.wanted.name), about)

    def unfinished(self) -> dict[Path, str]:
        """Return the staging folders that are there, each with its unit."""
        staging = self.models / ".musabi-staging"
        named = ((staging / path.stem, str(noted.get("unit"))) for path, noted in self._all())
        return {folder: unit for folder, unit in named if folder.is_dir()}

    def remember(self, one: FileSet, path: Path, record: Record) -> None:
        """Note a file that was checked. One process at a time does so: the one that holds the unit's lock."""
        if one.in_hub_cache:
            return
        noted = self._noted(one.wanted.name)
        files = noted.get("files", {}) | {str(path.relative_to(self.models)): record}
        write_json(self._file(one.wanted.name), {"unit": one.unit, "complete": False, "files": files})

    def complete(self, one: FileSet) -> None:
        """Note that all files of a set are there."""
        noted = self._noted(one.wanted.name)
        if noted and not noted.get("complete"):
            write_json(self._file(one.wanted.name), noted | {"complete": True})

    def forget(self, unit: str) -> None:
        """Forget the sets of a unit, whose files are gone."""
        for path, noted in self._all():
            if noted.get("unit") == unit:
                path.unlink(missing_ok=True)

    def touch(self, unit: str) -> None:
        """Note that a unit is used now."""
        stamp = self._stamp(unit)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()

    def kept(self) -> list[Kept]:
        """Return the units that may leave: folders of ours that hold nothing that somebody else put there."""
        ours: dict[str, set[str]] = {}
        for _, noted in self._all():
            ours.setdefault(str(noted.get("unit")), set()).update(noted.get("files", {}))
        found = []
        for unit, files in ours.items():
            folder = self.models / unit
            if not folder.is_dir() or folder.is_symlink():
                continue
            there = [path for path in folder.rglob("*") if path.is_file()]
            if all(self._is_ours(path, folder, files) for path in there):
                found.append(Kept(unit, sum(path.stat().st_size for path in there), self._used(unit)))
        return found

    def _is_ours(self, path: Path, folder: Path, files: set[str]) -> bool:
        return str(path.relative_to(self.models)) in files or DERIVED in path.relative_to(folder).parts[:-1]

    def _used(self, unit: str) -> float:
        try:
            return self._stamp(unit).stat().st_mtime
        except OSError:
            return 0.0

    def _stamp(self, unit: str) -> Path:
        return self.folder / "used" / key(unit)

    def _file(self, name: str) -> Path:
        return self.folder / "sets" / f"{name}.json"

    def _noted(self, name: str) -> dict[str, Any]:
        value = read_json(self._file(name))
        return value if isinstance(value, dict) else {}

    def _all(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        for path in sorted((self.folder / "sets").glob("*.json")):
            value = read_json(path)
            if isinstance(value, dict):
                yield path, value
