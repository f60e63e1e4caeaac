"""Which container this is and since when it runs: a deadline of another one is not believed."""

import os
import time
from pathlib import Path

from musabi.identity import identity
from musabi.job.record import process_start


def container_mark() -> str:
    """Return a name that no other container has: pod, boot, process-id namespace and start of process 1.

    The start is in the name because the kernel gives a namespace's number to a later one again.
    """
    return f"{identity()} {process_start(1)}"


def container_started() -> float:
    """Return when the container's first process started, in Unix seconds."""
    ticks = process_start(1)
    try:
        uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return time.time()
    return time.time() - uptime + (ticks or 0.0) / os.sysconf("SC_CLK_TCK")
