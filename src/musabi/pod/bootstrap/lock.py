"""One bootstrap at a time on one volume, by a lock that a dead holder does not keep.

Two things are held. A kernel lock (flock) on a file of the volume: the kernel drops it with the process, so a
killed holder is gone at once. Where the volume is a network filesystem, flock may not reach across hosts, so
there is an owner file besides, whose counter the holder raises every few seconds. Another container takes the
lock over when it saw that counter stand still for `PATIENCE_SECONDS` by its own clock; clocks of two hosts
are never compared. On a local filesystem, and for an owner in this very container, the kernel lock alone
decides.
"""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from musabi.children import Cancelled
from musabi.errors import MachineError
from musabi.identity import identity, is_gone
from musabi.job.record import own_process, process_start
from musabi.pod.mounts import mount_of, read_mounts
from musabi.whole import read_json, write_json

BEAT_SECONDS = 5.0
PATIENCE_SECONDS = 30.0
SETTLE_SECONDS = 1.0
POLL_SECONDS = 0.25
LOCAL_FILESYSTEMS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "f2fs"})


class VolumeLock:
    """The lock of one volume; a context manager.

    `say` hears once whom this one waits for. `cancel` ends the waiting. `local` tells whether flock alone
    decides (worked out from the filesystem where it is not given).
    """

    def __init__(
        self,
        folder: Path,
        *,
        say: Callable[[str], None] = lambda _text: None,
        cancel: threading.Event | None = None,
        local: bool | None = None,
        beat_s: float = BEAT_SECONDS,
        patience_s: float = PATIENCE_SECONDS,
    ) -> None:
        self._file = FileLock(str(folder / "bootstrap.lock"))
        self._owner_file = folder / "bootstrap.owner.json"
        self._say = say
        self._cancel = cancel or threading.Event()
        self._local = filesystem_of(folder) in LOCAL_FILESYSTEMS if local is None else local
        self._beat_s = beat_s
        self._patience_s = patience_s
        self._id = uuid.uuid4().hex
        self._over = threading.Event()
        self._lost = False
        self._heart: threading.Thread | None = None

    def __enter__(self) -> "VolumeLock":
        self._take_kernel_lock()
        try:
            if not self._local:
                self._wait_for_owner()
            self._write_owner(0)
        except BaseException:
            self._file.release()
            raise
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._heart is not None:
            self._heart.join(timeout=self._beat_s + 5)
        if self._owner().get("id") == self._id:
            self._owner_file.unlink(missing_ok=True)
        self._file.release()

    def require_held(self) -> None:
        """Stop work that another container took over.

        Raises:
            MachineError: the owner file names somebody else.
        """
        if self._lost:
            raise MachineError(
                "Another container took this volume's bootstrap over while this one stood still. "
                "Run musabi bootstrap again to see that all is there."
            )

    def _take_kernel_lock(self) -> None:
        said = False
        while True:
            try:
                self._file.acquire(timeout=POLL_SECONDS, poll_interval=POLL_SECONDS / 2)
                return
            except Timeout:
                if not said:
                    self._say(f"waiting for another bootstrap of this volume{_whom(self._owner())}")
                    said = True
            if self._cancel.is_set():
                raise Cancelled

    def _wait_for_owner(self) -> None:
        """Wait until no other container's owner file is being kept up, then claim it for good."""
        seen: tuple[Any, Any] | None = None
        since = time.monotonic()
        said = False
        while True:
            owner = self._owner()
            if not owner or self._is_dead(owner):
                self._write_owner(0)
                # Two containers may claim at once where the kernel lock keeps neither out: the last one wins.
                time.sleep(min(SETTLE_SECONDS, self._patience_s / 4))
                if self._owner().get("id") == self._id:
                    return
                continue
            now = (owner.get("id"), owner.get("beat"))
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > self._patience_s:
                self._owner_file.unlink(missing_ok=True)
                continue
            if not said:
                self._say(f"waiting for another bootstrap of this volume{_whom(owner)}")
                said = True
            if self._cancel.wait(POLL_SECONDS):
                raise Cancelled

    def _is_dead(self, owner: dict[str, Any]) -> bool:
        if is_gone(str(owner.get("identity", ""))):
            return True
        here = owner.get("identity") == identity()
        return here and process_start(int(owner.get("pid", 0))) != owner.get("pid_started")

    def _beat(self) -> None:
        beat = 0
        while not self._over.wait(self._beat_s):
            if not self._local and self._owner().get("id") not in (None, self._id):
                self._lost = True
                return
            beat += 1
            with contextlib.suppress(OSError):  # a full disk must not end the work that may free it
                self._write_owner(beat)

    def _owner(self) -> dict[str, Any]:
        found = read_json(self._owner_file)
        return found if isinstance(found, dict) else {}

    def _write_owner(self, beat: int) -> None:
        pid, started = own_process()
        about = {"id": self._id, "beat": beat, "identity": identity(), "pid": pid, "pid_started": started}
        write_json(self._owner_file, about)


def filesystem_of(folder: Path) -> str:
    """Return the type of the filesystem that a folder lies on, or "" where unknown."""
    mount = mount_of(read_mounts(), folder)
    return mount.filesystem if mount is not None else ""


def _whom(owner: dict[str, Any]) -> str:
    host = str(owner.get("identity", "")).partition(" ")[0]
    return f" ({host}, process {owner.get('pid')})" if host else ""
