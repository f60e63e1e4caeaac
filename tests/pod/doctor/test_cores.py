"""Cores, threads and memory are the container's share, whatever its host has."""

import pytest

from musabi.pod.boot.threads import Limits
from musabi.pod.doctor import cores
from small.machine import Machine, names

SHARE, MEMORY = {"cores.share": "ok"}, {"memory.size": "ok"}
CAPS = {"OMP_NUM_THREADS": "8", "TOKIO_WORKER_THREADS": "8", "RAYON_NUM_THREADS": "8"}
GIB = 1024**3


@pytest.mark.parametrize(
    ("limits", "memory", "environ", "expected"),
    [
        (Limits(16, 16), 128 * GIB, {}, SHARE | MEMORY),
        (Limits(384, 384, 46.08, 1024), 128 * GIB, {}, SHARE | MEMORY | {"cores.few_threads": "note"}),
        (Limits(384, 384, 46.08, 1024), 128 * GIB, CAPS, SHARE | MEMORY),
        (Limits(384, 384, 46.08), 128 * GIB, {}, SHARE | MEMORY | {"cores.quota": "note"}),
        (Limits(384, 46), 128 * GIB, {"OMP_NUM_THREADS": "4"}, SHARE | MEMORY | {"cores.quota": "note"}),
        (Limits(16, 16, memory_max=20 * GIB), 128 * GIB, {}, SHARE | {"memory.small": "note"}),
        (Limits(16, 16), 16 * GIB, {}, SHARE | {"memory.small": "note"}),
        (Limits(16, 16, memory_max=64 * GIB), None, {}, SHARE | MEMORY),
        (Limits(16, 16), None, {}, SHARE | {"memory.unknown": "unknown"}),
    ],
)
def test_a_containers_share_is_judged(
    limits: Limits, memory: int | None, environ: dict[str, str], expected: dict[str, str]
) -> None:
    assert names(cores.judge(limits, memory, environ)) == expected


def test_the_share_is_said_and_the_variables_that_mend_it() -> None:
    share, few, memory = cores.judge(Limits(384, 384, 46.08, 1024, 64 * GIB), 512 * GIB, {})
    assert share.what == "46 of 384 cores, 1024 threads at most"
    assert "OMP_NUM_THREADS=32 and TOKIO_WORKER_THREADS=32" in few.mend
    assert memory.what == "68.7 GB of main memory"


def test_the_kernels_own_files_are_read(machine: Machine) -> None:
    machine.write({"cgroup/cpu.max": "10000 100000\n", "cgroup/pids.max": "9999999\n"})
    machine.environ.pop("OMP_NUM_THREADS")
    found = cores.look(machine.scene())
    assert names(found) == SHARE | MEMORY | {"cores.quota": "note"}
    assert found[-1].what == "270.2 GB of main memory"
    machine.write({"proc/meminfo": "nonsense"})
    assert names(cores.look(machine.scene()))["memory.unknown"] == "unknown"
