"""What a folder lies on: its mount, and whether that is the container's own disk, a volume or the network."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["container", "disk", "network", "memory"]
# Filesystems that show the whole cluster's room in `df`, not a volume's quota. Runpod's network volumes are
# MooseFS (fuse, source mfs#...).
NETWORK = (
    "nfs",
    "fuse",
    "cifs",
    "smb",
    "ceph",
    "lustre",
    "9p",
    "virtiofs",
    "gluster",
    "beegfs",
    "wekafs",
    "gpfs",
)
MEMORY = ("tmpfs", "ramfs")
ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo (proc(5)): where it is mounted, its filesystem and what it was mounted from."""

    point: Path
    filesystem: str
    source: str = ""

    @property
    def kind(self) -> Kind:
        """`container`: the container's own disk, gone with it."""
        if self.point == Path("/"):
            return "container"
        if self.filesystem.startswith(NETWORK):
            return "network"
        return "memory" if self.filesystem in MEMORY else "disk"


def read_mounts(proc: Path = Path("/proc")) -> tuple[Mount, ...]:
    """Return this process's mounts in the order they were made; none where nobody says."""
    try:
        text = (proc / "self" / "mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    return tuple(mount for line in text.splitlines() if (mount := _parse(line)) is not None)


def mount_of(mounts: tuple[Mount, ...], path: Path) -> Mount | None:
    """Return the mount that `path` lies on; of several on one place, the last one covers the others."""
    real = Path(os.path.realpath(path))
    holding = [mount for mount in mounts if mount.point == real or mount.point in real.parents]
    return max(reversed(holding), key=lambda mount: len(mount.point.parts), default=None)


def _parse(line: str) -> Mount | None:
    left, separator, right = line.partition(" - ")
    fields, about = left.split(" "), right.split(" ")
    if not separator or len(fields) < 5 or len(about) < 2:
        return None
    return Mount(Path(_plain(fields[4])), about[0], _plain(about[1]))


def _plain(text: str) -> str:
    for escape, character in ESCAPES:
        text = text.replace(escape, character)
    return text
