"""Who is at work on which models: one fetches or evicts a unit at a time, and what a live job uses stays.

A turn is a lock of the volume (see musabi.pod.bootstrap.lock): the kernel's, and across hosts a counter that its
owner raises. A hold is a file with such a counter for as long as a job uses its units; its owner is dead where the
process is gone, or, in another container, where the counter was seen to stand still. Clocks are never compared.
"""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musabi.children import Cancelled
from musabi.errors import MachineError
from musabi.identity import identity, is_gone
from musabi.job.record import own_process, process_start
from musabi.pod.bootstrap.lock import BEAT_SECONDS, PATIENCE_SECONDS, VolumeLock
from musabi.whole import read_json, write_json

LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Pace:
    """Seconds between two signs of life, and how long none may be seen before an owner counts as dead."""

    beat_s: float = BEAT_SECONDS
    patience_s: float = PATIENCE_SECONDS


@contextmanager
def turn(
    folder: Path,
    unit: str,
    *,
    say: Callable[[str], None],
    cancel: threading.Event,
    pace: Pace = Pace(),
) -> Iterator[Callable[[], None]]:
    """Be the only one at work on a unit; yields a check that raises MachineError where another took it over.

    `folder` keeps the locks, `say` hears once that this one waits.

    Raises:
        Cancelled: `cancel` was set while this one waited.
    """
    place = folder / "locks" / key(unit)
    place.mkdir(parents=True, exist_ok=True)
    with VolumeLock(
        place,
        say=lambda _text: say(f"Another worker is at work on {unit}; waiting for it"),
        cancel=cancel,
        beat_s=pace.beat_s,
        patience_s=pace.patience_s,
    ) as lock:

        def require_held() -> None:
            try:
                lock.require_held()
            except MachineError:
                raise MachineError(
                    f"Another worker took over {unit} while this one stood still. Send the job again."
                ) from None

        yield require_held


@contextmanager
def holding(folder: Path, units: Iterable[str], pace: Pace = Pace()) -> Iterator[None]:
    """Keep units from leaving until the block ends, or this process."""
    hold = folder / "holds" / f"{uuid.uuid4().hex}.json"
    pid, started = own_process()
    about = {"units": sorted(units), "identity": identity(), "pid": pid, "pid_started": started}
    over = threading.Event()

    def beat() -> None:
        count = 0
        while not over.wait(pace.beat_s):
            count += 1
            with contextlib.suppress(OSError):  # a full disk must not end the job
                write_json(hold, about | {"beat": count}, sync=False)

    write_json(hold, about | {"beat": 0})
    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        over.set()
        heart.join(timeout=pace.beat_s + 5)
        hold.unlink(missing_ok=True)


def held(folder: Path, *, cancel: threading.Event, pace: Pace = Pace()) -> frozenset[str]:
    """Return the units that live jobs use; the holds of dead ones are removed.

    Waits for signs of life, at most `pace.patience_s` seconds, where a job of another container says it uses some.

    Raises:
        Cancelled: `cancel` was set meanwhile.
    """
    holds = _read(folder)
    live = {path for path, one in holds.items() if lives(one)}
    doubtful = {path for path, one in holds.items() if lives(one) is None}
    deadline = time.monotonic() + pace.patience_s
    while doubtful - live and time.monotonic() < deadline:
        if cancel.wait(min(LOOK_SECONDS, pace.beat_s)):
            raise Cancelled
        now = _read(folder)
        live |= {path for path in doubtful & now.keys() if now[path].get("beat") != holds[path].get("beat")}
        doubtful &= now.keys()
    for path in holds.keys() - live:
        path.unlink(missing_ok=True)
    return frozenset(str(unit) for path in live for unit in holds[path].get("units", ()))


def key(unit: str) -> str:
    """Return a unit's name as one file's name."""
    return unit.replace("/", "--")


def _read(folder: Path) -> dict[Path, dict[str, Any]]:
    found = {path: read_json(path) for path in (folder / "holds").glob("*.json")}
    return {path: value for path, value in found.items() if isinstance(value, dict)}


def lives(hold: dict[str, Any]) -> bool | None:
    """Tell whether a hold's process runs; None where it is another container's and can't be looked up."""
    if is_gone(str(hold.get("identity", ""))):
        return False
    if hold.get("identity") != identity():
        return None
    started = process_start(int(hold.get("pid", 0)))
    return started is not None and started == hold.get("pid_started")
