"""Cores, threads and main memory: what the container may use, not what its host has."""

from collections.abc import Mapping

from musabi.container import Limits, meminfo_bytes, read_limits
from musabi.hub.listing import gigabytes
from musabi.pod.boot.threads import LEADER, caps, few_threads
from musabi.pod.doctor.finding import Finding, finding, ok
from musabi.pod.doctor.scene import Scene

SMALL_MEMORY_BYTES = 31e9
"""musubi-tuner's README asks for 64 GB, or 32 GB and swap; a machine of 32 GB shows a little less."""


def look(scene: Scene) -> list[Finding]:
    """Look at the limits of this container."""
    limits = read_limits(scene.cgroup, scene.proc / "self" / "cgroup")
    return judge(limits, meminfo_bytes(scene.proc), scene.environ)


def judge(limits: Limits, host_memory: int | None, environ: Mapping[str, str]) -> list[Finding]:
    """Return what is to be said of a container on a host with `host_memory` bytes. Pure."""
    return [*_threads(limits, environ), *_memory(limits, host_memory)]


def _threads(limits: Limits, environ: Mapping[str, str]) -> list[Finding]:
    found = [ok("cores.share", _words(limits))]
    missing = caps(limits.host_cores, limits.quota_cores, limits.pids_max, environ)
    # The followers of OMP_NUM_THREADS need no line of their own.
    shown = " and ".join(
        f"{name}={missing[name]}" for name in (LEADER, "TOKIO_WORKER_THREADS") if name in missing
    )
    if not shown:
        return found
    if few_threads(limits.host_cores, limits.pids_max):
        found.append(finding("cores.few_threads", pids=limits.pids_max, host=limits.host_cores, caps=shown))
    else:
        found.append(finding("cores.quota", cores=limits.cores, host=limits.host_cores, caps=shown))
    return found


def _memory(limits: Limits, host_memory: int | None) -> list[Finding]:
    known = [size for size in (limits.memory_max, host_memory) if size is not None]
    if not known:
        return [finding("memory.unknown")]
    if min(known) < SMALL_MEMORY_BYTES:
        return [finding("memory.small", memory=gigabytes(min(known)))]
    return [ok("memory.size", f"{gigabytes(min(known))} of main memory")]


def _words(limits: Limits) -> str:
    share = (
        f"{limits.cores} of {limits.host_cores} cores" if limits.quota_cores else f"{limits.host_cores} cores"
    )
    return share + (f", {limits.pids_max} threads at most" if limits.pids_max is not None else "")
