"""Which container this is: within one, process ids can be looked up; across two, they mean nothing."""

import socket
from pathlib import Path


def identity() -> str:
    """Return a name for this host, boot and process-id namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        boot = namespace = "?"
    return f"{socket.gethostname()} {boot} {namespace}"
