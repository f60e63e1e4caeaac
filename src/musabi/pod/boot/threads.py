"""The thread counts that follow from what this container may use of its host.

A container sees all cores of its host, while a quota gives it some of them and pids.max few threads. Thread
pools that start one thread a core then die with EAGAIN, or stand in each other's way. PID 1 imports this
module, so it needs nothing but the standard library.
"""

from collections.abc import Mapping

from musabi.container import Limits as Limits
from musabi.container import read_limits as read_limits

# Few threads: fewer than this many for each core of the host (vast-ai/base-image, ADR 0014).
FEW_A_CORE = 16
# Some pools (OpenMP, rayon, tokio) in some processes (JupyterLab, hub client, trainer and its loaders) share
# pids.max, so one pool gets a small part of it.
POOLS = 32
# These take OMP_NUM_THREADS where their own variable is not set.
FOLLOWERS = ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
LEADER = "OMP_NUM_THREADS"
# RAYON_NUM_THREADS does not bound tokio (hf-xet), and the other way round.
OTHERS = ("RAYON_NUM_THREADS", "TOKIO_WORKER_THREADS")


def few_threads(host_cores: int, pids_max: int | None) -> bool:
    """Tell whether pids.max is too small for pools that start a thread for each core of the host."""
    return pids_max is not None and pids_max < FEW_A_CORE * host_cores


def caps(
    host_cores: int, quota_cores: float | None, pids_max: int | None, environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables that cap thread pools; none where the container has its whole host.

    A variable that `environ` has already is not in it. Where OMP_NUM_THREADS is, those are not either that
    would follow it.
    """
    cores = host_cores if quota_cores is None else max(1, int(quota_cores))
    if few_threads(host_cores, pids_max):
        cores = min(cores, max(1, (pids_max or 0) // POOLS))
    elif cores >= host_cores:
        return {}
    names = ((LEADER, *FOLLOWERS) if not environ.get(LEADER) else ()) + OTHERS
    return {name: str(cores) for name in names if not environ.get(name)}
