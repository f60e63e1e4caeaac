"""Main memory: the container's limit where it has one, else the host's."""

from pathlib import Path

import pytest

from musabi.container import main_memory
from musabi.machine import machine_facts


def place(folder: Path, limit: str | None, host: str | None) -> int:
    """Return the main memory of a machine with these files."""
    (folder / "cgroup").mkdir()
    (folder / "own").write_text("0::/\n")
    if limit is not None:
        (folder / "cgroup" / "memory.max").write_text(limit)
    if host is not None:
        (folder / "meminfo").write_text(host)
    return main_memory(folder / "cgroup", folder / "own", folder)


@pytest.mark.parametrize(
    ("limit", "host", "found"),
    [
        ("8589934592\n", "MemTotal:       65000000 kB\nMemFree: 1 kB\n", 8589934592),
        ("max\n", "MemTotal:       65000000 kB\n", 65000000 * 1024),
        (None, "MemTotal:       65000000 kB\n", 65000000 * 1024),
        ("8589934592\n", None, 8589934592),
        ("max\n", None, 0),
    ],
)
def test_the_smaller_of_limit_and_host_counts(
    limit: str | None, host: str | None, found: int, tmp_path: Path
) -> None:
    assert place(tmp_path, limit, host) == found


def test_this_machine_tells_its_main_memory() -> None:
    assert machine_facts().ram > 2**28
