"""Which container this is: within one, process ids can be looked up; across two, they mean nothing."""

import os
import socket
from functools import cache
from pathlib import Path


def identity() -> str:
    """Return a name for this pod (else this host), boot and process-id namespace: three words."""
    return f"{os.environ.get('RUNPOD_POD_ID') or socket.gethostname()} {_boot_and_namespace()}"


def is_gone(other: str) -> bool:
    """Tell whether `other` was an earlier container of this very pod: a pod runs one at a time.

    Known only on Runpod; a host's name proves nothing, since several containers may share one.
    """
    pod = os.environ.get("RUNPOD_POD_ID")
    return pod is not None and other != identity() and other.partition(" ")[0] == pod


@cache
def _boot_and_namespace() -> str:
    """Return both as two words; neither changes in a process's life."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        boot = namespace = "?"
    return f"{boot} {namespace}"
