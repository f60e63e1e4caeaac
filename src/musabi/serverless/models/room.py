"""Room on the disk for what is to come: looked at first, made by letting models leave that nobody uses."""

import shutil
import uuid
from contextlib import AbstractContextManager

from musabi.errors import MachineError
from musabi.hub.client import folder_bytes
from musabi.hub.listing import gigabytes
from musabi.hub.room import ROOM_LEFT
from musabi.serverless.models import locks
from musabi.serverless.models.errand import Errand
from musabi.serverless.models.eviction import leaving
from musabi.serverless.models.ledger import Ledger

LEAVING = ".musabi-leaving-"
EVICTION = ".eviction"
"""Whose turn it is to let models leave."""


def require_room(errand: Errand, ledger: Ledger, need: int) -> None:
    """See to it that `need` more bytes fit beside the models.

    Raises:
        MachineError: they don't, whatever leaves.
        Cancelled: the errand was called off.
    """
    ledger.models.mkdir(parents=True, exist_ok=True)
    short = need + ROOM_LEFT - errand.free(ledger.models)
    if short > 0:
        evict(errand, ledger, short)
    free = max(0, errand.free(ledger.models) - ROOM_LEFT)
    if need > free:
        raise MachineError(
            f"The disk of {ledger.models} is too small: the model needs {gigabytes(need)} and "
            f"{gigabytes(free)} are free, with no model there that could leave. Enlarge the volume or make room."
        )


def evict(errand: Errand, ledger: Ledger, need: int, *, exact: bool = True) -> int:
    """Let models leave until `need` bytes are free again (see `leaving`); return how many bytes left.

    The caller has no unit's turn: two that evict would wait for each other.

    Raises:
        Cancelled: the errand was called off.
    """
    with _turn(errand, ledger, EVICTION):
        gone = _sweep(errand, ledger)
        need -= gone
        kept = ledger.kept()
        for one in leaving(kept, _held(errand, ledger), need, exact=exact) if kept else ():
            with _turn(errand, ledger, one.unit):
                if remove(errand, ledger, one.unit):
                    errand.say(f"{one.unit} ({gigabytes(one.size)}) left the disk: it was used longest ago")
                    gone += one.size
    return gone


def remove(errand: Errand, ledger: Ledger, unit: str) -> bool:
    """Remove a unit; False where a job has come to use it meanwhile.

    It is moved away before the holds are read again: a job writes its hold first and looks for the files then, so
    one of the two sees the other.
    """
    folder = ledger.models / unit
    away = ledger.models / f"{LEAVING}{uuid.uuid4().hex}"
    try:
        folder.rename(away)
    except OSError:
        return False  # another worker was faster
    if unit in _held(errand, ledger):
        away.rename(folder)
        return False
    ledger.forget(unit)
    shutil.rmtree(away, ignore_errors=True)
    return True


def _held(errand: Errand, ledger: Ledger) -> frozenset[str]:
    return locks.held(ledger.folder, cancel=errand.cancel, pace=errand.pace)


def _turn(errand: Errand, ledger: Ledger, unit: str) -> AbstractContextManager[object]:
    return locks.turn(ledger.folder, unit, say=errand.say, cancel=errand.cancel, pace=errand.pace)


def _sweep(errand: Errand, ledger: Ledger) -> int:
    """Remove what a killed worker was removing, or fetching; return how many bytes left."""
    for path in ledger.models.glob(f"{LEAVING}*"):
        shutil.rmtree(path, ignore_errors=True)
    unfinished = ledger.unfinished()
    held = _held(errand, ledger) if unfinished else frozenset()
    left = 0
    for folder, unit in unfinished.items():
        if unit not in held:
            left += folder_bytes(folder)[0]
            shutil.rmtree(folder, ignore_errors=True)
    return left
