"""Weights, fetched by the hub's client into a staging folder, checked, and only then given their names.

A file that is whole in the staging folder survives a kill; one that was under way is fetched from its start,
since the client (2.x) keeps no partial files between two of its own runs. Within one run it goes on where a
connection broke.
"""

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from musabi.children import Cancelled, Outcome
from musabi.hub.access import Access
from musabi.hub.client import GOES_ON_WITHOUT_XET, folder_bytes, run_client, why_it_failed
from musabi.hub.faults import HubError
from musabi.hub.listing import Listing, RemoteFile, gigabytes, is_recorded, is_right, record
from musabi.hub.weights import Places, Wanted
from musabi.whole import write_text

Record = dict[str, object]


@dataclass
class Transfer:
    """One set of weights on its way.

    `known` maps final paths to what is remembered of them (see `listing.record`); `remember` adds to it.
    `moved` gets the bytes of this set that are here, finished or not; `say` one sentence for a person.
    """

    wanted: Wanted
    listing: Listing
    places: Places
    access: Access
    known: Mapping[str, Record] = field(default_factory=dict)
    remember: Callable[[Path, Record], None] = lambda _path, _record: None
    moved: Callable[[int], None] = lambda _size: None
    say: Callable[[str], None] = lambda _text: None
    log: Callable[[str], None] = lambda _line: None
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def staging(self) -> Path:
        return self.places.staging(self.wanted)

    def final(self, remote: RemoteFile) -> Path:
        return self.places.final(self.wanted, remote.path, self.listing.commit)

    def staged(self, remote: RemoteFile) -> Path:
        return self.staging / remote.path


def missing(transfer: Transfer) -> list[RemoteFile]:
    """Return the files that still have to come; a file that is there is known again, or read and checked.

    A file of ours that was damaged is removed. One that somebody else put there and that is not what the
    hub has is moved aside, never deleted.
    """
    still = []
    for remote in transfer.listing.files:
        final = transfer.final(remote)
        remembered = transfer.known.get(str(final))
        if is_recorded(final, remembered) and final.stat().st_size == remote.size:
            continue
        if is_right(final, remote):
            transfer.remember(final, record(final, remote, transfer.wanted, transfer.listing.commit))
            continue
        if final.exists():
            _put_away(transfer, final, remembered is not None)
        still.append(remote)
    return still


def bytes_to_come(transfer: Transfer, still: list[RemoteFile]) -> int:
    """Return how many bytes of the `still` missing files are not in the staging folder yet."""
    return sum(
        remote.size
        for remote in still
        if not (transfer.staged(remote).is_file() and transfer.staged(remote).stat().st_size == remote.size)
    )


def fetch(transfer: Transfer, still: list[RemoteFile]) -> None:
    """Bring the missing files to their final names.

    Raises:
        HubError: it can't be done; the message names the repo and the mend.
        Cancelled: the transfer's `cancel` was set.
    """
    wrong: set[str] = set()
    failures = 0
    plain = False
    while True:
        before = len(still)
        still, corrupt = _promote(transfer, still, wrong)
        if not still:
            break
        failures = 0 if len(still) < before else failures
        plain = plain or corrupt
        outcome = _download(transfer, still, plain)
        # The client may call itself done with files missing, where the hub failed it half-way.
        if outcome.done and all(transfer.staged(remote).is_file() for remote in still):
            continue
        failures += 1
        fault = _fault(transfer, outcome, still[0])
        if not fault.retry or failures >= transfer.access.attempts:
            raise fault
        plain = plain or fault.kind in GOES_ON_WITHOUT_XET
        transfer.say(f"{transfer.wanted.repo}: {outcome.ended or fault.kind}, trying again")
        if transfer.cancel.wait(transfer.access.delay(failures)):
            raise Cancelled
    _finish(transfer)


def whole(wanted: Wanted, places: Places, records: Mapping[str, Record]) -> bool:
    """Tell, without reading any file, whether a set that was fetched is still there as it was checked."""
    mine = records_of(wanted, records)
    ref = places.ref(wanted)
    if not mine or not all(_has_size(Path(path), remembered) for path, remembered in mine.items()):
        return False
    return ref is None or (ref.is_file() and ref.read_text(encoding="utf-8") == commit_of(mine))


def records_of(wanted: Wanted, records: Mapping[str, Record]) -> dict[str, Record]:
    """Return what is remembered of one set's files, by final path."""
    return {path: known for path, known in records.items() if known.get("set") == wanted.name}


def commit_of(records: Mapping[str, Record]) -> str | None:
    """Return the commit that remembered files came from."""
    sources = {str(known["source"]).partition("@")[2].partition(":")[0] for known in records.values()}
    return sources.pop() if len(sources) == 1 else None


def _has_size(path: Path, remembered: Record) -> bool:
    try:
        return path.stat().st_size == remembered["size"]
    except OSError:
        return False


def _put_away(transfer: Transfer, final: Path, ours: bool) -> None:
    if ours:
        transfer.say(f"{final.name} is damaged and will be fetched again")
        final.unlink()
        return
    aside = final.with_name(f"{final.name}.replaced-{time.strftime('%Y%m%d-%H%M%S')}")
    final.rename(aside)
    transfer.say(f"{final.name} is not the hub's file; it was kept as {aside.name}")


def _promote(transfer: Transfer, still: list[RemoteFile], wrong: set[str]) -> tuple[list[RemoteFile], bool]:
    """Give checked files their final names; return those still missing and whether one had wrong bytes."""
    left = []
    corrupt = False
    for remote in still:
        staged = transfer.staged(remote)
        if not staged.is_file():
            left.append(remote)
            continue
        if remote.size > 1e9:
            transfer.say(f"checking {remote.path} ({gigabytes(remote.size)})")
        if is_right(staged, remote):
            final = transfer.final(remote)
            final.parent.mkdir(parents=True, exist_ok=True)
            staged.replace(final)
            transfer.remember(final, record(final, remote, transfer.wanted, transfer.listing.commit))
            continue
        staged.unlink()
        corrupt = True
        if remote.path in wrong:
            raise HubError(
                f"{remote.path} of {transfer.wanted.repo} arrived with wrong bytes twice (its checksum is "
                "not the one the hub names). Something on the way changes it: try another machine or "
                "network, then run musabi bootstrap again.",
                "corrupt",
            )
        wrong.add(remote.path)
        transfer.say(f"{remote.path} arrived with wrong bytes and is fetched again")
        left.append(remote)
    return left, corrupt


def _download(transfer: Transfer, still: list[RemoteFile], plain: bool) -> Outcome:
    staging = transfer.staging
    staging.mkdir(parents=True, exist_ok=True)
    for leftover in staging.rglob("*.incomplete"):
        leftover.unlink(missing_ok=True)
    coming = {remote.path for remote in still}
    here = sum(remote.size for remote in transfer.listing.files if remote.path not in coming)
    outcome = run_client(
        (
            "download",
            transfer.wanted.repo,
            *sorted(coming),
            "--revision",
            transfer.listing.commit,
            "--local-dir",
            str(staging),
            "--max-workers",
            str(transfer.access.max_workers),
        ),
        staging,
        transfer.access,
        plain=plain,
        moved=lambda size: transfer.moved(here + size),
        log=transfer.log,
        cancel=transfer.cancel,
    )
    # A fast transfer ends between two looks of the watchdog: its bytes are counted here.
    transfer.moved(here + folder_bytes(staging)[0])
    return outcome


def _fault(transfer: Transfer, outcome: Outcome, remote: RemoteFile) -> HubError:
    wanted, access = transfer.wanted, transfer.access

    def ask() -> None:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(wanted.repo, remote.path, revision=transfer.listing.commit, endpoint=access.endpoint)
        get_hf_file_metadata(
            url, token=access.token or False, timeout=access.request_s, endpoint=access.endpoint
        )

    return why_it_failed(
        outcome,
        wanted.repo,
        access,
        transfer.places.models,
        ask,
        path=remote.path,
        revision=wanted.revision,
    )


def _finish(transfer: Transfer) -> None:
    ref = transfer.places.ref(transfer.wanted)
    if ref is not None:
        write_text(ref, transfer.listing.commit)
    shutil.rmtree(transfer.staging, ignore_errors=True)
