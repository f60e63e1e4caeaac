"""How full the disks are, and what fills the workspace."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from musabi.pod.doctor.disk import bytes_under, existing
from musabi.pod.mounts import Kind, mount_of, read_mounts

ROOM_SECONDS = 10.0
FOLDERS_SECONDS = 600.0
COUNT_SECONDS = 20.0
"""How long counting what fills the workspace may take."""
MOST_FOLDERS = 7
NEARLY_FULL = 0.9


@dataclass(frozen=True)
class Disk:
    """One filesystem, in bytes. Of a network volume the system shows the whole cluster's: None, not known."""

    title: str
    folder: str
    used: int | None
    total: int | None
    free: int | None

    @property
    def nearly_full(self) -> bool:
        return bool(self.total) and (self.used or 0) >= NEARLY_FULL * (self.total or 1)


@dataclass(frozen=True)
class Filling:
    """What lies in the workspace: (name, bytes), the biggest first; `whole` is false where counting took too long."""

    folders: tuple[tuple[str, int], ...]
    total: int
    whole: bool


def disks(workspace: Path, state_dir: Path, proc: Path = Path("/proc")) -> tuple[Disk, ...]:
    """Return the workspace's disk and the container's, or the one that both lie on."""
    mounts = read_mounts(proc)
    places = [existing(workspace), existing(state_dir)]
    if places[0].stat().st_dev == places[1].stat().st_dev:
        return (_disk("Workspace and system", places[0], "disk"),)
    mount = mount_of(mounts, places[0])
    kind: Kind = "disk" if mount is None else mount.kind
    title = "Network volume" if kind == "network" else "Workspace"
    return (_disk(title, places[0], kind), _disk("Container's disk", places[1], "container"))


def with_quota(disk: Disk, size: float | None, filling: Filling | None) -> Disk:
    """Return a network volume with its size as Runpod says it (GB) and what was counted on it."""
    if disk.total is not None or size is None:
        return disk
    total = int(size * 1e9)
    used = filling.total if filling is not None and filling.whole else None
    return Disk(disk.title, disk.folder, used, total, None if used is None else max(0, total - used))


def filling(root: Path, limit_s: float = COUNT_SECONDS) -> Filling:
    """Count what lies in the workspace, a row each folder directly in it; links are not followed."""
    until, sizes, whole = time.monotonic() + limit_s, dict[str, int](), True
    try:
        with os.scandir(root) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return Filling((), 0, False)
    for entry in inside:
        try:
            if not entry.is_dir(follow_symlinks=False):
                sizes["files"] = sizes.get("files", 0) + entry.stat(follow_symlinks=False).st_blocks * 512
                continue
        except OSError:
            continue
        size = bytes_under(Path(entry.path), max(0.0, until - time.monotonic()))
        whole = whole and size is not None
        if size:
            sizes[f"{entry.name}/"] = size
    ranked = sorted(sizes.items(), key=lambda pair: -pair[1])
    return Filling(tuple(ranked[:MOST_FOLDERS]), sum(sizes.values()), whole)


def _disk(title: str, folder: Path, kind: Kind) -> Disk:
    if kind == "network":
        return Disk(title, str(folder), None, None, None)
    room = os.statvfs(folder)
    total, free = room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize
    # As df has it: what only root may still fill is neither used nor free.
    used = total - room.f_bfree * room.f_frsize
    return Disk(title, str(folder), used, used + free, free)
