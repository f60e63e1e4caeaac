"""Thread counts follow the container's share of its host, not the host; PID 1 can afford to ask."""

import subprocess
import sys
from pathlib import Path

import pytest

from musabi.pod.boot.threads import Limits, caps, read_limits

V1_OWN = "12:pids:/docker/abc\n5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"
V1 = "cgroup/cpu,cpuacct/cpu.cfs"

# A container's files, and (cores by quota, pids.max, memory in bytes).
CONTAINERS = {
    "v2": (
        {
            "own": "0::/\n",
            "cgroup/cpu.max": "4608000 100000\n",
            "cgroup/pids.max": "1024\n",
            "cgroup/memory.max": "64424509440\n",
        },
        (46.08, 1024, 64424509440),
    ),
    "v2 without limits": (
        {"own": "0::/\n", "cgroup/cpu.max": "max 100000\n", "cgroup/pids.max": "max\n", "cgroup/memory.max": "max\n"},
        (None, None, None),
    ),
    "v2, the group under the host's path": (
        {"own": "0::/pods/a\n", "cgroup/pods/a/cpu.max": "200000 100000\n", "cgroup/pods/a/pids.max": "max\n"},
        (2.0, None, None),
    ),
    "v2, a group above is stricter": (
        {
            "own": "0::/pods/a\n",
            "cgroup/pods/a/cpu.max": "max 100000\n",
            "cgroup/pods/cpu.max": "150000 100000\n",
            "cgroup/pods/a/pids.max": "9000\n",
            "cgroup/pods/pids.max": "500\n",
        },
        (1.5, 500, None),
    ),
    "v2, a path that leads out of the mount": (
        {"own": "0::/../../else\n", "else/cpu.max": "100000 100000\n", "cgroup/cpu.max": "300000 100000\n"},
        (3.0, None, None),
    ),
    "v1, the group at the mount": (
        {
            "own": V1_OWN,
            f"{V1}_quota_us": "780000\n",
            f"{V1}_period_us": "100000\n",
            "cgroup/pids/pids.max": "2048\n",
            "cgroup/memory/memory.limit_in_bytes": "32000000000\n",
        },
        (7.8, 2048, 32000000000),
    ),
    "v1 without limits": (
        {
            "own": V1_OWN,
            f"{V1}_quota_us": "-1\n",
            f"{V1}_period_us": "100000\n",
            "cgroup/pids/pids.max": "max\n",
            "cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
        (None, None, None),
    ),
    "v1 and v2 side by side": (
        {"own": V1_OWN + "0::/\n", "cgroup/unified/pids.max": "300\n", "cgroup/pids/pids.max": "max\n"},
        (None, 300, None),
    ),
    "nothing to read": ({}, (None, None, None)),
    "nonsense": ({"own": "?\n", "cgroup/cpu.max": "a b c\n", "cgroup/pids.max": "\n"}, (None, None, None)),
}  # fmt: skip


def put(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("name", CONTAINERS)
def test_limits_are_read_from_cgroups_of_either_version(tmp_path: Path, name: str) -> None:
    files, expected = CONTAINERS[name]
    put(tmp_path, files)
    found = read_limits(tmp_path / "cgroup", tmp_path / "own", host_cores=384, affinity=384)
    assert (found.cpu_quota, found.pids_max, found.memory_max) == expected


def test_fewer_cores_by_affinity_are_a_share_too() -> None:
    assert Limits(64, 64).quota_cores is None
    assert Limits(64, 8).quota_cores == 8
    assert Limits(64, 8, cpu_quota=2.5).quota_cores == 2.5
    assert Limits(64, 64, cpu_quota=80).quota_cores is None
    assert Limits(64, 64, cpu_quota=0.5).cores == 1


ALL = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "TOKIO_WORKER_THREADS",
)


@pytest.mark.parametrize(
    ("host", "quota", "pids", "threads"),
    [
        (384, 46.08, 1024, 32),
        (384, 46.08, None, 46),
        (384, None, 6143, 191),
        (384, None, 6144, None),
        (384, 4.0, 20, 1),
        (8, None, None, None),
        (8, 8.0, None, None),
        (8, 0.5, None, 1),
        (2, None, 64, None),
        (2, None, 31, 1),
    ],
)
def test_pools_are_capped_where_the_share_or_pids_max_is_small(
    host: int, quota: float | None, pids: int | None, threads: int | None
) -> None:
    assert caps(host, quota, pids, {}) == ({name: str(threads) for name in ALL} if threads else {})


def test_what_a_person_set_stays_and_what_follows_it_follows() -> None:
    assert caps(64, 8, None, {"OMP_NUM_THREADS": "3"}) == {
        "RAYON_NUM_THREADS": "8",
        "TOKIO_WORKER_THREADS": "8",
    }
    left = caps(64, 8, None, {"TOKIO_WORKER_THREADS": "2", "MKL_NUM_THREADS": "5", "RAYON_NUM_THREADS": ""})
    assert set(left) == set(ALL) - {"TOKIO_WORKER_THREADS", "MKL_NUM_THREADS"}


def test_pid_1_imports_nothing_but_the_standard_library_for_it() -> None:
    code = (
        "import sys; before = set(sys.modules); import musabi.pod.boot.threads\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))\n"
        "print(sorted(name for name in sys.modules if name.startswith('musabi')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    ours = ["musabi", "musabi.container", "musabi.pod", "musabi.pod.boot", "musabi.pod.boot.threads"]
    assert done.stdout.splitlines() == ["['musabi']", str(ours)]


def test_this_machine_has_limits_that_make_sense() -> None:
    limits = read_limits()
    assert 1 <= limits.cores <= limits.host_cores and 1 <= limits.affinity <= limits.host_cores
    assert limits.memory_max is None or limits.memory_max > 1e8
