"""Brings the weights of a model: finds what is there, and fetches the rest once, however many workers want it."""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from musabi.children import Cancelled
from musabi.errors import MachineError
from musabi.hub.client import folder_bytes
from musabi.hub.faults import HubError
from musabi.hub.fetch import Transfer, commit_of, fetch, missing
from musabi.hub.listing import Listing, RemoteFile, gigabytes, list_files
from musabi.serverless.models import locks
from musabi.serverless.models.errand import Errand
from musabi.serverless.models.found import elsewhere, in_runpods_cache
from musabi.serverless.models.ledger import Ledger
from musabi.serverless.models.room import evict, require_room
from musabi.serverless.models.sources import FileSet
from musabi.whole import replacing, write_text

TELL_SECONDS = 1.0
ADAPTERS = frozenset({"adapter"})
"""Roles that musabi writes a copy beside, so that only files of the endpoint's own will do."""


def bring(errand: Errand, sets: tuple[FileSet, ...]) -> dict[str, Path]:
    """Return where each set lies, by role; what is nowhere is fetched.

    Raises:
        HubError: the hub refused or could not be reached.
        MachineError: there is no room, or another worker took over.
        Cancelled: the errand was called off.
    """
    ledger = Ledger(errand.places)
    where = {one.role: path for one in sets if (path := _find(errand, ledger, one)) is not None}
    if lacking := tuple(one for one in sets if one.role not in where):
        where |= _fetch_all(errand, ledger, lacking)
    for one in sets:
        if where[one.role].is_relative_to(ledger.models):
            ledger.touch(one.unit)
    return where


def _find(errand: Errand, ledger: Ledger, one: FileSet) -> Path | None:
    """Return where a set is: in Runpod's cache, with the endpoint's own weights, else elsewhere on the volume.

    Runpod's cache lies on the worker's own disk, which is read faster than a network volume.
    """
    volume = errand.places.volume
    if volume is None or one.role in ADAPTERS:
        return ledger.here(one)
    if one.in_hub_cache:
        return ledger.here(one) or _adopt(ledger, one, in_runpods_cache(one, volume))
    return in_runpods_cache(one, volume) or ledger.here(one) or elsewhere(one, volume)


def _adopt(ledger: Ledger, one: FileSet, first: Path | None) -> Path | None:
    """Copy small files of Runpod's cache into ours, where the trainer looks; return what it is given.

    `first` is the first of the set's files there, None where there are none.
    """
    if first is None:
        return None
    snapshot = first.parents[one.must[0].count("/")]
    repo = ledger.places(one).repo_cache(one.wanted)
    for path in snapshot.rglob("*"):
        name = path.relative_to(snapshot).as_posix()
        if path.is_file() and one.wanted.wants(name):
            with replacing(repo / "snapshots" / snapshot.name / name) as part:
                shutil.copyfile(path, part)
    write_text(repo / "refs" / one.wanted.revision, snapshot.name)
    return ledger.here(one)


def _fetch_all(errand: Errand, ledger: Ledger, lacking: tuple[FileSet, ...]) -> dict[str, Path]:
    names = ", ".join(dict.fromkeys(one.wanted.repo for one in lacking))
    errand.say(f"{errand.title}: not all of it is on this disk; fetching from {names}")
    listings = {one.role: _listing(errand, ledger, one) for one in lacking}
    meter = _Meter(errand, sum(file.size for listing in listings.values() for file in listing.files))
    coming = sum(_to_come(ledger, one, listings[one.role]) for one in lacking)
    require_room(errand, ledger, coming)
    return {one.role: _fetch_in_turn(errand, ledger, one, listings[one.role], meter) for one in lacking}


def _listing(errand: Errand, ledger: Ledger, one: FileSet) -> Listing:
    """Ask the hub for a set's files; shards of two commits must not be mixed, so what is there says which one."""
    there = {path: record for path, record in ledger.known(one).items() if Path(path).is_file()}
    pinned = replace(one.wanted, revision=commit_of(there) or one.wanted.revision)
    if errand.cancel.is_set():
        raise Cancelled
    return list_files(pinned, errand.access, errand.say)


def _to_come(ledger: Ledger, one: FileSet, listing: Listing) -> int:
    """Return how many bytes a set will take beyond what it takes now, unfinished files counted in."""
    places = ledger.places(one)

    def is_here(file: RemoteFile) -> bool:
        final = places.final(one.wanted, file.path, listing.commit)
        return final.is_file() and final.stat().st_size == file.size

    staged = min(folder_bytes(places.staging(one.wanted)))
    return max(0, sum(file.size for file in listing.files if not is_here(file)) - staged)


def _fetch_in_turn(errand: Errand, ledger: Ledger, one: FileSet, listing: Listing, meter: "_Meter") -> Path:
    """Fetch a set unless another worker did meanwhile; where the disk runs full, models leave and it goes on."""
    while True:
        try:
            with locks.turn(
                ledger.folder, one.unit, say=meter.wait, cancel=errand.cancel, pace=errand.pace
            ) as require_held:
                if ledger.here(one) is None:
                    _fetch(errand, ledger, one, listing, meter, require_held)
                here = ledger.here(one)
        except HubError as fault:
            # A network volume shows the room of its whole cluster: that it is full is only seen here.
            need = _to_come(ledger, one, listing)
            if fault.kind != "disk" or not evict(errand, ledger, need, exact=False):
                raise
            continue
        if here is None:
            raise MachineError(
                f"{one.unit} was fetched and is gone again: something removes files of {ledger.models}."
            )
        meter.here(one.role, _size(listing.files))
        return here


def _fetch(
    errand: Errand,
    ledger: Ledger,
    one: FileSet,
    listing: Listing,
    meter: "_Meter",
    require_held: Callable[[], None],
) -> None:
    def moved(size: int) -> None:
        require_held()
        meter.here(one.role, size)

    transfer = Transfer(
        one.wanted,
        listing,
        ledger.places(one),
        errand.access,
        ledger.known(one),
        lambda path, record: ledger.remember(one, path, record),
        moved,
        errand.say,
        cancel=errand.cancel,
    )
    ledger.begin(one)
    if still := missing(transfer):
        fetch(transfer, still)
    ledger.complete(one)


def _size(files: tuple[RemoteFile, ...]) -> int:
    return sum(file.size for file in files)


class _Meter:
    """Adds up the bytes of all sets that are fetched, and tells about once a second."""

    def __init__(self, errand: Errand, total: int) -> None:
        self._errand = errand
        self._total = total
        self._sizes: dict[str, int] = {}
        self._told = 0.0

    def here(self, role: str, size: int) -> None:
        self._sizes[role] = size
        if time.monotonic() - self._told < TELL_SECONDS:
            return
        self._told = time.monotonic()
        here = sum(self._sizes.values())
        percent = round(100 * here / self._total, 1) if self._total else None
        self._errand.tell(
            f"Downloading {self._errand.title} model: {gigabytes(here)} of {gigabytes(self._total)}", percent
        )

    def wait(self, text: str) -> None:
        """Say that another worker is waited for."""
        self._errand.tell(text, None)
        self._errand.say(text)
