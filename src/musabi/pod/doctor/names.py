"""Whether the hosts that the bootstrap needs can be looked up: DNS, asked side by side and not for long."""

import re
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from musabi.pod.bootstrap.options import PYTORCH_INDEX
from musabi.pod.doctor.finding import Finding, finding, listed, ok
from musabi.pod.doctor.scene import Scene
from musabi.pod.doctor.texts import State

PYPI = "https://pypi.org"
LOOKUP_SECONDS = 2.5
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
SCP = re.compile(r"(?:[^@/\s]+@)?(?P<host>[A-Za-z0-9.-]+):(?!//)")
"""git's short form of an SSH address: user@host:path."""


@dataclass(frozen=True)
class Host:
    """A host, what is fetched from it, and whether that is still to come."""

    name: str
    thing: str
    needed: bool


def look(scene: Scene) -> list[Finding]:
    """Look up every host that the bootstrap needs, or nothing where a proxy does so."""
    proxy = next((name for name in PROXIES if scene.environ.get(name)), None)
    if proxy is not None:
        return [ok("network.names", f"names are looked up by the proxy of {proxy}")]
    hosts = hosts_of(scene)
    return judge(hosts, lookup([host.name for host in hosts]))


def hosts_of(scene: Scene) -> list[Host]:
    """Return the hosts that are asked for weights, source and packages; addresses on disk have none."""
    settings = scene.settings
    own, packages = scene.engine == "musubi", scene.trainer_python is None
    index = scene.environ.get("UV_DEFAULT_INDEX") or scene.environ.get("UV_INDEX_URL")
    rows = [
        (scene.access.endpoint, "weights", bool(scene.missing_weights)),
        (settings.musubi_repo_url if own else "", "musubi-tuner", not scene.has_checkout),
        (PYTORCH_INDEX if own and settings.musubi_cuda_extra != "cpu" else "", "torch", packages),
        (index or PYPI, "Python packages", packages),
    ]
    return [Host(name, thing, needed) for url, thing, needed in rows if (name := host_in(url))]


def host_in(address: str) -> str | None:
    """Return the host of a URL or of git's user@host:path; None for a path."""
    if "://" in address:
        return urlsplit(address).hostname
    short = SCP.match(address)
    return short["host"] if short else None


def lookup(names: Iterable[str], limit_s: float = LOOKUP_SECONDS) -> dict[str, bool]:
    """Return which names can be looked up within `limit_s` seconds in all."""
    found: dict[str, bool] = {}

    def ask(name: str) -> None:
        try:
            found[name] = bool(socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):
            found[name] = False

    wanted = list(dict.fromkeys(names))
    # A lookup can't be called off, so it is left behind where it takes too long.
    asking = [threading.Thread(target=ask, args=(name,), daemon=True) for name in wanted]
    for thread in asking:
        thread.start()
    _join(asking, limit_s)
    return {name: found.get(name, False) for name in wanted}


def judge(hosts: list[Host], there: dict[str, bool]) -> list[Finding]:
    """Return what is to be said of the hosts that can be looked up or not. Pure."""
    lost = [host for host in hosts if not there[host.name]]
    if not lost:
        return [ok("network.names", f"{listed(there)} can be looked up")] if there else []
    if not any(there.values()):
        state: State = "blocks" if any(host.needed for host in lost) else "note"
        return [finding("network.no_dns", state, hosts=listed(there))]
    return [
        _lost([host for host in lost if host.needed is needed], "blocks" if needed else "note")
        for needed in dict.fromkeys(host.needed for host in lost)
    ]


def _lost(hosts: list[Host], state: State) -> Finding:
    things, lost = listed(host.thing for host in hosts), listed(host.name for host in hosts)
    return finding("network.no_name", state, things=things, hosts=lost)


def _join(threads: list[threading.Thread], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
