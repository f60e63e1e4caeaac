"""Holds a job for one process, on any volume.

The kernel's lock (flock) goes with its process, and decides alone on a disk of this machine. A network volume may
have none, or one that does not reach other machines. There an owner file stands beside it, whose counter the owner
raises: an owner of this container is looked up, one of another is watched and is dead where its counter stands
still. Clocks are never compared.
"""

import contextlib
import fcntl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Any

from musabi.identity import identity
from musabi.job.record import own_process
from musabi.pod.bootstrap.lock import LOCAL_FILESYSTEMS, SETTLE_SECONDS, filesystem_of
from musabi.serverless.models.locks import LOOK_SECONDS, Pace, lives
from musabi.whole import read_json, write_json

LOCK_FILE = "work.lock"
OWNER_FILE = "work.owner.json"
PACE = Pace()


class Kernel(Enum):
    """What the kernel says of a job's lock. `UNSURE`: it has none here, or one that other machines don't see."""

    MINE = auto()
    BUSY = auto()
    UNSURE = auto()


@contextmanager
def alone(folder: Path, on_lost: Callable[[], None] = lambda: None, pace: Pace = PACE) -> Iterator[bool]:
    """Hold the job in `folder`; yields False where another process does.

    May take `pace.patience_s` seconds where one of another container held it and gives no sign of life. `on_lost` is
    called, by a thread, where another took the job over because this process had stood still for that long.
    """
    with kernel_lock(folder) as kernel:
        if kernel is not Kernel.UNSURE:
            yield kernel is Kernel.MINE
            return
        owner = Owner(folder / OWNER_FILE, pace, on_lost)
        mine = owner.take()
        try:
            yield mine
        finally:
            if mine:
                owner.let_go()


def is_held(folder: Path, pace: Pace = PACE) -> bool:
    """Tell whether a process holds the job; takes as long as `alone`."""
    with kernel_lock(folder) as kernel:
        if kernel is not Kernel.UNSURE:
            return kernel is Kernel.BUSY
    return Owner(folder / OWNER_FILE, pace).is_another()


@contextmanager
def kernel_lock(folder: Path) -> Iterator[Kernel]:
    """Take the kernel's lock of a job, where it can be had; it goes with the block, or with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield Kernel.BUSY
            return
        except OSError:  # a network filesystem without locks
            yield Kernel.UNSURE
            return
        yield Kernel.MINE if filesystem_of(folder) in LOCAL_FILESYSTEMS else Kernel.UNSURE


class Owner:
    """The owner file of a job, as one process sees it."""

    def __init__(self, file: Path, pace: Pace, on_lost: Callable[[], None] = lambda: None) -> None:
        self._file = file
        self._pace = pace
        self._on_lost = on_lost
        self._id = uuid.uuid4().hex
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="job lock", daemon=True)

    def take(self) -> bool:
        """Become the owner; False where another process is."""
        while not self.is_another():
            try:
                self._write(0)
            except OSError:  # a full disk: the job says so in words, which must not fail at its lock
                return True
            # Two may claim it at once: the last one wins.
            time.sleep(min(SETTLE_SECONDS, self._pace.patience_s / 4))
            if self._read().get("id") == self._id:
                self._heart.start()
                return True
        return False

    def let_go(self) -> None:
        """Be the owner no longer."""
        self._over.set()
        if self._heart.is_alive():
            self._heart.join(timeout=self._pace.beat_s + 5)
        with contextlib.suppress(OSError):
            if self._read().get("id") == self._id:
                self._file.unlink(missing_ok=True)

    def is_another(self) -> bool:
        """Tell whether a living process is the owner; one of another container is watched until that is known."""
        first = self._read()
        alive = lives(first) if first else False
        deadline = time.monotonic() + self._pace.patience_s
        while alive is None:
            time.sleep(min(LOOK_SECONDS, self._pace.beat_s))
            now = self._read()
            if not now:
                alive = False
            elif (now.get("id"), now.get("beat")) != (first.get("id"), first.get("beat")):
                alive = True
            elif time.monotonic() > deadline:
                alive = False
                self._file.unlink(missing_ok=True)  # nobody need watch it again
        return alive

    def _beat(self) -> None:
        count = 0
        while not self._over.wait(self._pace.beat_s):
            with contextlib.suppress(OSError):  # a volume that stutters, or is full: tried again
                if self._read().get("id") != self._id:  # also where the job's folder was moved away
                    self._on_lost()
                    return
                count += 1
                self._write(count)

    def _write(self, count: int) -> None:
        pid, started = own_process()
        about = {"id": self._id, "beat": count, "identity": identity(), "pid": pid, "pid_started": started}
        write_json(self._file, about, sync=False)

    def _read(self) -> dict[str, Any]:
        found = read_json(self._file)
        return found if isinstance(found, dict) else {}
