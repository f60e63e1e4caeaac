"""The disks: what is still to be written against what is free, and whether the workspace outlives the pod."""

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from musabi.hub.listing import free_bytes, gigabytes
from musabi.pod.doctor.finding import Finding, finding, listed, ok
from musabi.pod.doctor.needs import Need, needs
from musabi.pod.doctor.scene import REQUEST_SECONDS, Scene
from musabi.pod.mounts import Mount, mount_of, read_mounts
from musabi.pod.stopping.provider import ask_facts, this_pod

COUNT_SECONDS = 15.0
GB = 10**9


@dataclass(frozen=True)
class Room:
    """One filesystem: a folder on it, its free bytes (None: not known) and what `df` says of it."""

    folder: Path
    free: int | None
    shown: int


def look(scene: Scene) -> list[Finding]:
    """Look at the workspace's mount, and at the room for what is still to be written."""
    found = look_at_workspace(scene)
    wanted, silent = needs(scene)
    if silent:
        found.append(finding("disk.sizes_unknown", repos=listed(silent)))
    mounts = read_mounts(scene.proc)
    for group in by_filesystem(wanted):
        found += judge_room(room_of(scene, existing(group[0].folder), mounts), group)
    return found


def look_at_workspace(scene: Scene) -> list[Finding]:
    """Look at where the workspace lies and whether it can be written to; quick."""
    workspace = scene.settings.workspace
    mounts = read_mounts(scene.proc)
    mount = mount_of(mounts, workspace)
    in_container = "RUNPOD_POD_ID" in scene.environ or _root_is_layered(mounts)
    found = [judge_mount(workspace, mount, existing(workspace), in_container)]
    if not workspace.is_dir():
        return [finding("disk.no_workspace", workspace=workspace)]
    error = why_not_writable(workspace)
    return [*found, finding("disk.read_only", workspace=workspace, error=error)] if error else found


def judge_mount(workspace: Path, mount: Mount | None, place: Path, in_container: bool) -> Finding:
    """Return what is to be said of the mount that the workspace lies on; `place` exists on it."""
    if mount is None or (mount.kind == "container" and not in_container):
        return ok("disk.workspace", f"{workspace} has {gigabytes(free_bytes(place))} free")
    if mount.kind == "memory":
        return finding("disk.in_memory", workspace=workspace, filesystem=mount.filesystem)
    if mount.kind == "container":
        return finding("disk.not_a_mount", workspace=workspace)
    if mount.kind == "network":
        return ok("disk.workspace", f"{workspace} is a network volume ({mount.filesystem})")
    free = gigabytes(free_bytes(place))
    return ok("disk.workspace", f"{workspace} is a volume ({mount.filesystem}) with {free} free")


def why_not_writable(folder: Path) -> str | None:
    """Return why no file can be written in a folder, or None where one can."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".musabi-doctor-") as proof:
            proof.write(b"\0")
            proof.flush()
    except OSError as problem:
        return problem.strerror or str(problem)
    return None


def by_filesystem(wanted: list[Need]) -> list[list[Need]]:
    """Return the needs in groups that share a filesystem."""
    groups: dict[int, list[Need]] = {}
    for need in wanted:
        groups.setdefault(existing(need.folder).stat().st_dev, []).append(need)
    return list(groups.values())


def room_of(scene: Scene, folder: Path, mounts: tuple[Mount, ...]) -> Room:
    """Return the room on a folder's filesystem: of a network volume only what Runpod says of its size."""
    shown = free_bytes(folder)
    mount = mount_of(mounts, folder)
    if mount is None or mount.kind != "network":
        return Room(folder, shown, shown)
    size = volume_bytes(scene)
    used = bytes_under(mount.point, COUNT_SECONDS) if size is not None else None
    if size is None or used is None:
        return Room(folder, None, shown)
    return Room(folder, max(0, size - used), shown)


def judge_room(room: Room, group: list[Need]) -> list[Finding]:
    """Return what is to be said where a group of needs goes to one filesystem. Pure."""
    total = sum(need.size for need in group)
    needed = gigabytes(total)
    if room.free is None:
        names = {"workspace": room.folder, "free": gigabytes(room.shown), "needed": needed}
        return [finding("disk.quota_unknown", **names)]
    if total <= room.free:
        return [ok("disk.room", f"{needed} of {gigabytes(room.free)} free will be needed on {room.folder}")]
    sums: dict[str, int] = {}
    for need in group:
        sums[need.title] = sums.get(need.title, 0) + need.size
    parts = ", ".join(f"{title} {gigabytes(size)}" for title, size in sums.items())
    names = {"folder": room.folder, "needed": needed, "parts": parts, "free": gigabytes(room.free)}
    return [finding("disk.too_small", **names)]


def volume_bytes(scene: Scene) -> int | None:
    """Ask Runpod for the size of this pod's volume, with the key that it gave the pod; None where it won't say."""
    if not scene.settings.runpod_pod_id:
        return None
    facts = ask_facts(replace(this_pod(scene.settings, scene.environ), rest_s=REQUEST_SECONDS))
    if isinstance(facts, str):
        return None
    size = facts.network_volume_gb or facts.volume_gb
    return int(size * GB) if size else None


def bytes_under(folder: Path, limit_s: float) -> int | None:
    """Return how many bytes the files under a folder take on this filesystem; None if that takes too long."""
    deadline = time.monotonic() + limit_s
    total = 0
    waiting = [folder]
    while waiting:
        if time.monotonic() > deadline:
            return None
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return total


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder


def _root_is_layered(mounts: tuple[Mount, ...]) -> bool:
    """Tell whether `/` is a container's: laid over an image."""
    root = mount_of(mounts, Path("/"))
    return root is not None and root.filesystem in ("overlay", "aufs", "fuse-overlayfs")
