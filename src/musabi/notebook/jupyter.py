"""The Jupyter server that this kernel belongs to: where its pages are, and which folder it shows."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from musabi.pod.places import PodPlaces
from musabi.whole import read_json

# Its name under JupyterLab's address: a row of musabi.pod.boot.jupyter.PROXIED.
STATUS = "status"


@dataclass(frozen=True)
class Server:
    """A server's `base` path begins and ends with a slash; `root` is the folder that its file list shows."""

    base: str
    root: Path
    pid: int


def server() -> Server | None:
    """Return this kernel's server, or None where the kernel was started by something else.

    A server writes jpserver-PID.json into Jupyter's runtime folder, and tells its kernels its PID.
    """
    pid = os.environ.get("JPY_PARENT_PID", "")
    if not pid.isdigit():
        return None
    from jupyter_core.paths import jupyter_runtime_dir

    values = read_json(Path(jupyter_runtime_dir()) / f"jpserver-{pid}.json")
    if not isinstance(values, dict) or not isinstance(values.get("root_dir"), str):
        return None
    return Server(str(values.get("base_url", "/")), Path(values["root_dir"]), int(pid))


def status_url(places: PodPlaces) -> str | None:
    """Return the path of the pod's status page, or None where this server is not the pod's."""
    found = server()
    boot = read_json(places.boot)
    services = boot.get("services") if isinstance(boot, dict) else None
    jupyter = services.get("jupyter") if isinstance(services, dict) else None
    if found is None or not isinstance(jupyter, dict) or jupyter.get("pid") != found.pid:
        return None
    return f"{found.base}{STATUS}/"


def download_url(path: Path) -> str | None:
    """Return the link that downloads a file, or None where the server does not show it."""
    found = server()
    if found is None:
        return None
    try:
        below = path.resolve().relative_to(found.root.resolve())
    except ValueError:
        return None
    if any(part.startswith(".") for part in below.parts):
        return None
    return f"{found.base}files/{quote(below.as_posix())}?download=1"
