"""The note that a running `musabi serve` leaves on the container's disk, so that the run page finds it at any port."""

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from musabi.whole import read_json, write_json

NAME = "endpoint-at.json"
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - an address that is read, not listened on
"""Listening on all addresses is reached by this one."""


@dataclass(frozen=True)
class Serving:
    """Where a server listens: `url` as seen from this machine, `pid` its process."""

    url: str
    pid: int


def url_of(host: str, port: int) -> str:
    """Return the address by which this machine reaches a server that listens on `host`."""
    near = ANY.get(host, host)
    return f"http://[{near}]:{port}" if ":" in near else f"http://{near}:{port}"


def leave_note(state_dir: Path, url: str) -> None:
    """Note that this process serves at `url`. A disk that can't be written is no reason not to serve."""
    with suppress(OSError):
        write_json(state_dir / NAME, asdict(Serving(url, os.getpid())), mode=0o600)


def take_note_back(state_dir: Path) -> None:
    """Take this process's note away; another server's stays."""
    with suppress(OSError, ValueError):
        found = _read(state_dir)
        if found is not None and found.pid == os.getpid():
            (state_dir / NAME).unlink(missing_ok=True)


def serving(state_dir: Path) -> Serving | None:
    """Return the server whose note lies there, None where there is none or its process has ended."""
    try:
        found = _read(state_dir)
        if found is not None:
            os.kill(found.pid, 0)
    except PermissionError:
        return found  # it lives, and is another user's
    except (OSError, ValueError, OverflowError):
        return None
    return found


def _read(state_dir: Path) -> Serving | None:
    value = read_json(state_dir / NAME)
    if not isinstance(value, dict) or not isinstance(value.get("url"), str):
        return None
    pid = value.get("pid")
    if isinstance(pid, bool) or not isinstance(pid, int) or pid < 1 or not value["url"].startswith("http://"):
        return None
    return Serving(value["url"], pid)
