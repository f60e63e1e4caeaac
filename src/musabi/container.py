"""What this container may use of its host: cores, threads, main memory.

A container sees all cores and the whole memory of its host, while cgroups give it some of them. PID 1 imports
this module, so it needs nothing but the standard library.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
PROC = Path("/proc")
# cgroup v1 writes "no limit" as a number near 2^63, rounded to pages.
NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class Limits:
    """What the container may use. None means: not limited, or not known.

    `host_cores` counts the host's cores, `affinity` those that this process may run on; `cpu_quota` is the
    cgroup's share in cores, `pids_max` counts the threads that it may have, `memory_max` is in bytes.
    """

    host_cores: int
    affinity: int
    cpu_quota: float | None = None
    pids_max: int | None = None
    memory_max: int | None = None

    @property
    def quota_cores(self) -> float | None:
        """The cores that may be used where they are fewer than the host's, else None."""
        cores = min(float(self.affinity), self.cpu_quota or float(self.affinity))
        return cores if cores < self.host_cores else None

    @property
    def cores(self) -> int:
        """The whole cores that may be used, at least one."""
        return max(1, int(self.quota_cores or self.host_cores))


def read_limits(
    cgroup: Path = CGROUP,
    own: Path = OWN,
    *,
    host_cores: int | None = None,
    affinity: int | None = None,
) -> Limits:
    """Return the limits that cgroups (v2, v1 or both) set for this process.

    `cgroup` is where they are mounted, `own` the file that names this process's groups. The strictest limit
    on the way from the group up to the mount counts.
    """
    places = list(_places(cgroup, own))
    return Limits(
        host_cores=host_cores or os.cpu_count() or 1,
        affinity=affinity or len(os.sched_getaffinity(0)),
        cpu_quota=_least(_quota(folder) for folder in places),
        pids_max=_least_whole(_number(folder / "pids.max") for folder in places),
        memory_max=_least_whole(_memory(folder) for folder in places),
    )


def main_memory(cgroup: Path = CGROUP, own: Path = OWN, proc: Path = PROC) -> int:
    """Return the main memory in bytes that this container may use: its limit, else its host's; 0: unknown."""
    known = (read_limits(cgroup, own).memory_max, meminfo_bytes(proc))
    return min((size for size in known if size is not None), default=0)


def meminfo_bytes(proc: Path = PROC) -> int | None:
    """Return the host's main memory in bytes (proc(5), meminfo: in KiB)."""
    try:
        text = (proc / "meminfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    total = re.search(r"^MemTotal:\s+(\d+) kB", text, re.MULTILINE)
    return int(total[1]) * 1024 if total else None


def _places(cgroup: Path, own: Path) -> Iterator[Path]:
    """Yield each folder of limits that counts for this process: in every hierarchy, its group and those above.

    A container may see its group at the mount itself or under the path that the host has for it.
    """
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    groups = [line.split(":", 2)[1:] for line in lines if line.count(":") >= 2]
    for controllers, path in groups:
        names = (controllers, *controllers.split(",")) if controllers else ("", "unified")
        for mount in dict.fromkeys(cgroup / name for name in names):
            folder = Path(os.path.normpath(f"{mount}/{path.lstrip('/')}"))
            while folder != mount and mount in folder.parents:
                yield folder
                folder = folder.parent
            yield mount
    if not groups:
        yield cgroup


def _least(found: Iterable[float | None]) -> float | None:
    return min((number for number in found if number is not None), default=None)


def _least_whole(found: Iterable[int | None]) -> int | None:
    return min((number for number in found if number is not None), default=None)


def _quota(folder: Path) -> float | None:
    """Return the cores that a folder's files allow: cpu.max (v2), or cpu.cfs_quota_us (v1)."""
    words = _words(folder / "cpu.max")
    if len(words) == 2 and words[0].isdigit():
        return int(words[0]) / int(words[1])
    quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota / period if quota and period else None


def _memory(folder: Path) -> int | None:
    found = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
    return found if found and found < NO_LIMIT else None


def _number(path: Path) -> int | None:
    """Return the number in a file; None where there is none ("max", -1)."""
    words = _words(path)
    return int(words[0]) if len(words) == 1 and words[0].isdigit() else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return []
