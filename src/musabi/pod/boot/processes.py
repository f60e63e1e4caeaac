"""The process table as /proc shows it: who is whose child, and who is still there."""

from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One process. `started` is in clock ticks since the host's boot, `state` proc(5)'s letter."""

    pid: int
    parent: int
    state: str
    started: float


def look(pid: int) -> Process | None:
    """Return the process of that id, or None where there is none or only a zombie."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in brackets may hold spaces and brackets; what follows is counted from its end (proc(5)).
    fields = stat.rsplit(")", 1)[1].split()
    return None if fields[0] in "ZX" else Process(pid, int(fields[1]), fields[0], float(fields[19]))


def table() -> dict[int, Process]:
    """Return all processes that this one can see, without zombies, by id."""
    found = (look(int(path.name)) for path in PROC.iterdir() if path.name.isdigit())
    return {process.pid: process for process in found if process is not None}


def descendants(pid: int, processes: dict[int, Process]) -> set[int]:
    """Return the ids of all processes below `pid`."""
    below: set[int] = set()
    while more := {p.pid for p in processes.values() if p.parent == pid or p.parent in below} - below:
        below |= more
    return below
