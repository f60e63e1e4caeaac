"""Which folder holds the pod's own files: MUSABI_STATE_DIR, or a place in memory where that can't be written."""

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

from musabi.errors import MachineError
from musabi.pod.boot.settings import read
from musabi.pod.places import PodPlaces
from musabi.whole import read_json

# A container always has it, whatever became of its disk; PodPlaces.root in it is 0700.
FALLBACK = Path("/dev/shm/musabi")  # noqa: S108


def usable_places(state_dir: Path) -> tuple[PodPlaces, str | None]:
    """Make the pod's folder; return its places, and what is wrong where it had to be the fallback.

    Raises:
        OSError: not even the fallback can be written.
    """
    places = PodPlaces(state_dir)
    try:
        _make(places)
    except OSError as error:
        said = f"{places.root} can't be written ({error.strerror}), so the pod's files are in {FALLBACK}."
        places = PodPlaces(FALLBACK)
        _make(places)
        return places, said + " Free some of the container's disk."
    return places, None


def found_places(environ: Mapping[str, str]) -> PodPlaces:
    """Return the places that the boot of this container chose."""
    return chosen_places(read(environ)[0].musabi_state_dir)


def chosen_places(state_dir: Path) -> PodPlaces:
    """Return the places that the last boot chose: those with the newer boot.json, `state_dir`'s without any.

    An earlier boot's may still lie on a disk that the last one could not write.
    """
    disk, memory = PodPlaces(state_dir), PodPlaces(FALLBACK)
    return memory if _booted(memory) > _booted(disk) else disk


def _booted(places: PodPlaces) -> float:
    """Return when the boot that wrote boot.json there began, in Unix seconds; -1 where there is no boot.json."""
    try:
        if not places.boot.exists():
            return -1.0
        values = read_json(places.boot)
        return float(values["started"])
    except (OSError, KeyError, TypeError, ValueError):
        return 0.0


def hold(places: PodPlaces) -> int:
    """Take the pod for this boot, as long as this process lives; return the lock's file descriptor.

    Raises:
        MachineError: another boot has it.
    """
    lock = os.open(places.root / "boot.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise MachineError("This pod has booted already. Ask how it stands with: musabi health") from None
    return lock


def _make(places: PodPlaces) -> None:
    places.logs.mkdir(parents=True, exist_ok=True)
    places.root.chmod(0o700)
    probe = places.root / ".writable"
    probe.write_bytes(os.urandom(4096))  # an empty file fits on a full disk
    probe.unlink()
