"""The ports that the pod's services need: free, or held by those very services."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musabi.pod.doctor.finding import Finding, finding, ok
from musabi.pod.doctor.scene import Scene
from musabi.whole import read_json

LISTENS = "0A"
"""A socket's state in /proc/net/tcp (proc(5)): TCP_LISTEN."""
STARTED = "running"


@dataclass(frozen=True)
class Service:
    """A service and its port. `program` is what its command line holds."""

    title: str
    name: str
    variable: str
    program: str


SERVICES = (
    Service("JupyterLab", "jupyter", "JUPYTER_PORT", "jupyter"),
    Service("TensorBoard", "tensorboard", "TENSORBOARD_PORT", "tensorboard"),
)


@dataclass(frozen=True)
class Holder:
    """The process that listens on a port: its id and command line; None and "" where it can't be seen."""

    pid: int | None
    command: str = ""


def look(scene: Scene) -> list[Finding]:
    """Look at the port of each service."""
    return [_service(scene, service) for service in SERVICES]


def holder_of(port: int, proc: Path = Path("/proc")) -> Holder | None:
    """Return who listens on a TCP port of this network namespace, or None where nobody does."""
    sockets = {inode for table in ("tcp", "tcp6") for inode in _listening(proc / "net" / table, port)}
    if not sockets:
        return None
    links = {f"socket:[{inode}]" for inode in sockets}
    for folder in proc.glob("[0-9]*"):
        if _holds(folder / "fd", links):
            return Holder(int(folder.name), _command(folder))
    return Holder(None)


def _service(scene: Scene, service: Service) -> Finding:
    port: int = getattr(scene.settings, service.variable.lower())
    holder = holder_of(port, scene.proc)
    known = _known(scene, service)
    if holder is None:
        if known.get("state") == STARTED:
            log = scene.pod.logs / f"{service.name}.log"
            return finding("ports.silent", service=service.title, port=port, log=log)
        return ok("ports.free", f"port {port} is free for {service.title}")
    if holder.pid == known.get("pid") is not None or service.program in holder.command.lower():
        return ok("ports.held", f"{service.title} listens on port {port}")
    who = f"another program ({program_of(holder)})" if holder.command else "another program"
    names = {"service": service.title, "port": port, "holder": who, "variable": service.variable}
    return finding("ports.taken", **names)


def program_of(holder: Holder) -> str:
    """Return a process's program by name: its arguments may hold a secret."""
    return f"{Path(holder.command.split()[0]).name}, process {holder.pid}"


def _known(scene: Scene, service: Service) -> dict[str, Any]:
    """Return what the boot says of a service."""
    boot = read_json(scene.pod.boot)
    services = boot.get("services") if isinstance(boot, dict) else None
    known = services.get(service.name) if isinstance(services, dict) else None
    return known if isinstance(known, dict) else {}


def _listening(table: Path, port: int) -> list[str]:
    """Return the inodes of the sockets that listen on a port, from a table of the kernel's."""
    try:
        lines = table.read_text(encoding="ascii", errors="replace").splitlines()[1:]
    except OSError:
        return []
    rows = [line.split() for line in lines]
    return [row[9] for row in rows if len(row) > 9 and row[3] == LISTENS and row[1].endswith(f":{port:04X}")]


def _holds(folder: Path, links: set[str]) -> bool:
    with contextlib.suppress(OSError):  # a process or a file of it may be gone by now
        for link in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if str(link.readlink()) in links:
                    return True
    return False


def _command(folder: Path) -> str:
    try:
        return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
