"""What the hub says about a repo's files (size, sha256, commit), and what a download will need."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from musabi.errors import MachineError
from musabi.hub.access import Access
from musabi.hub.faults import HubError, Signs, hub_error, signs_of
from musabi.hub.weights import Wanted

CHUNK = 8 * 1024 * 1024


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repo. `size` in bytes; `sha256` for LFS files, else `blob` (git's SHA-1 of the content)."""

    path: str
    size: int
    sha256: str | None = None
    blob: str | None = None


@dataclass(frozen=True)
class Listing:
    """The wanted files of one repo at one commit."""

    commit: str
    files: tuple[RemoteFile, ...]


def list_files(wanted: Wanted, access: Access, say: Callable[[str], None] = lambda _text: None) -> Listing:
    """Ask the hub for the files that are wanted; tries again with backoff where that can help.

    Raises:
        HubError: the hub refused, or could not be reached, or has no such file.
    """
    attempt = 1
    while True:
        try:
            return _list_once(wanted, access)
        except HubError as fault:
            if not fault.retry or attempt >= access.attempts:
                raise
            say(f"asking for {wanted.repo} again ({fault.kind})")
        time.sleep(access.delay(attempt))
        attempt += 1


def missing_bytes(needs: Iterable[tuple[Path, int]], free: Callable[[Path], int] | None = None) -> None:
    """Refuse a download that can't fit: `needs` are (folder, bytes still to come) pairs.

    Folders on one filesystem are counted together. `free` returns the free bytes of a folder's filesystem.

    Raises:
        MachineError: a filesystem has too little room; the message says how many bytes are missing.
    """
    free = free or free_bytes
    sums: dict[int, tuple[Path, int]] = {}
    for folder, size in needs:
        device = _existing(folder).stat().st_dev
        first, total = sums.get(device, (folder, 0))
        sums[device] = (first, total + size)
    for folder, total in sums.values():
        room = free(_existing(folder))
        if total > room:
            raise MachineError(
                f"The disk of {folder} is too small: the download needs {gigabytes(total)} and "
                f"{gigabytes(room)} are free, so {total - room} bytes ({gigabytes(total - room)}) are "
                "missing. Enlarge the volume or make room, then run musabi bootstrap again."
            )


def free_bytes(folder: Path) -> int:
    """Return the bytes that may still be written to the folder's filesystem."""
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


def gigabytes(size: int) -> str:
    """Return a size in words: GB (10^9 bytes), or MB below a tenth of that."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def is_right(path: Path, remote: RemoteFile) -> bool:
    """Tell whether the file at `path` has the size and the content that the hub names."""
    if not path.is_file() or path.stat().st_size != remote.size:
        return False
    if remote.sha256 is not None:
        return _digest(path, hashlib.sha256()) == remote.sha256
    if remote.blob is not None:
        start = hashlib.sha1(b"blob %d\0" % remote.size, usedforsecurity=False)
        return _digest(path, start) == remote.blob
    return True


def record(path: Path, remote: RemoteFile, wanted: Wanted, commit: str) -> dict[str, object]:
    """Return what is remembered of a file that was checked, to know it again without reading it."""
    stat = path.stat()
    return {
        "set": wanted.name,
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "sha256": remote.sha256,
        "source": f"{wanted.repo}@{commit}:{remote.path}",
    }


def is_recorded(path: Path, remembered: Mapping[str, object] | None) -> bool:
    """Tell whether the file is the one that was checked: same size, not written since."""
    if remembered is None:
        return False
    try:
        stat = path.stat()
    except OSError:
        return False
    return stat.st_size == remembered["size"] and stat.st_mtime_ns == remembered["mtime_ns"]


def _list_once(wanted: Wanted, access: Access) -> Listing:
    from huggingface_hub import HfApi

    token = access.token
    api = HfApi(endpoint=access.endpoint, token=token or False)
    names = {"repo": wanted.repo, "endpoint": access.endpoint, "revision": wanted.revision}
    try:
        info = api.model_info(
            wanted.repo, revision=wanted.revision, files_metadata=True, timeout=access.request_s
        )
    except Exception as error:
        raise hub_error(signs_of(error, token is not None), **names) from error
    files = tuple(
        RemoteFile(
            sibling.rfilename,
            sibling.size or 0,
            sibling.lfs.sha256 if sibling.lfs else None,
            None if sibling.lfs else sibling.blob_id,
        )
        for sibling in info.siblings or ()
        if wanted.wants(sibling.rfilename)
    )
    for pattern in wanted.patterns:
        if not any(wanted_one(pattern, file.path) for file in files):
            raise hub_error(Signs(404, "EntryNotFound"), path=pattern, **names)
    return Listing(info.sha or wanted.revision, files)


def wanted_one(pattern: str, path: str) -> bool:
    """Tell whether one pattern of a set names the file at `path`."""
    return Wanted("", "", (pattern,), None).wants(path)


def _digest(path: Path, algorithm: "hashlib._Hash") -> str:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            algorithm.update(chunk)
    return algorithm.hexdigest()


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
