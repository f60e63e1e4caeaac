"""The model's weights: what is missing is worked out, the room for it is checked, then it is fetched."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from musabi.errors import MachineError
from musabi.hub.faults import HubError
from musabi.hub.fetch import Transfer, bytes_to_come, commit_of, fetch, missing, records_of, whole
from musabi.hub.listing import RemoteFile, gigabytes, list_files, missing_bytes
from musabi.hub.weights import Wanted, wanted_sets
from musabi.pod.bootstrap.options import BootstrapOptions
from musabi.pod.bootstrap.stage import Context, Facts, Proof, Stage, Work


def _wanted(options: BootstrapOptions) -> tuple[Wanted, ...]:
    return wanted_sets(options.model, options.only)


def _depends_on(context: Context) -> Any:  # noqa: ANN401 - any JSON value
    places = context.options.places
    rows = [[w.name, w.repo, w.patterns, w.folder, w.revision] for w in _wanted(context.options)]
    return {"sets": rows, "models": str(places.models), "cache": str(places.hub_cache)}


def _proof(context: Context, _facts: Facts) -> Proof:
    known = context.volume.files()
    return Proof(all(whole(wanted, context.options.places, known) for wanted in _wanted(context.options)))


def _fetch_all(work: Work) -> Facts:
    meter = _Meter(work)
    transfers, failures = _list_all(work, meter)
    coming = [(transfer, missing(transfer)) for transfer in transfers]
    for transfer, still in coming:
        files = transfer.listing.files
        meter.here(transfer.wanted.name, _size(files) - _size(still))
        meter.total += _size(files)
    missing_bytes((transfer.staging, bytes_to_come(transfer, still)) for transfer, still in coming)
    for transfer, still in coming:
        if not still:
            continue
        work.say(f"fetching {transfer.wanted.name} ({gigabytes(_size(still))})")
        try:
            fetch(transfer, still)
        except HubError as fault:
            failures.append(fault)
        else:
            meter.here(transfer.wanted.name, _size(transfer.listing.files))
    if failures:
        raise MachineError(" ".join(dict.fromkeys(str(fault) for fault in failures)))
    work.say(f"{gigabytes(meter.total)} in place")
    return {"bytes": meter.total}


def _list_all(work: Work, meter: "_Meter") -> tuple[list[Transfer], list[HubError]]:
    transfers: list[Transfer] = []
    failures: list[HubError] = []
    for wanted in _wanted(work.options):
        try:
            transfers.append(_transfer(work, wanted, meter))
        except HubError as fault:
            failures.append(fault)
    return transfers, failures


def _transfer(work: Work, wanted: Wanted, meter: "_Meter") -> Transfer:
    options, volume = work.options, work.context.volume
    known = records_of(wanted, volume.files())
    # Shards of two commits must not be mixed: what is missing is taken from the commit of what is there.
    there = {path: record for path, record in known.items() if Path(path).is_file()}
    pinned = replace(wanted, revision=commit_of(there) or wanted.revision)
    listing = list_files(pinned, options.access, work.say)
    return Transfer(
        wanted,
        listing,
        options.places,
        options.access,
        known,
        volume.remember,
        lambda here: meter.here(wanted.name, here),
        work.say,
        work.context.log,
        work.context.cancel,
    )


def _size(files: "tuple[RemoteFile, ...] | list[RemoteFile]") -> int:
    return sum(remote.size for remote in files)


class _Meter:
    """Adds up the bytes of all sets and tells the stage."""

    def __init__(self, work: Work) -> None:
        self.total = 0
        self._work = work
        self._sets: dict[str, int] = {}
        self._lock = threading.Lock()
        self.began = time.monotonic()

    def here(self, name: str, size: int) -> None:
        with self._lock:
            self._sets[name] = size
            self._work.moved(sum(self._sets.values()), self.total)


WEIGHTS = Stage("weights", ("layout",), "volume", _depends_on, _proof, _fetch_all)
