"""Who is at work in the pod: in Jupyter's kernels, at a terminal, on files.

Jupyter's own `last_activity` is of no use: an open tab asks for kernels, terminals and files every ten seconds
and writes its layout back, and each of those counts there as activity, for ever. So what is looked at is what
only a person or their code does: kernels that work, keys typed at terminals (JupyterLab's and SSH's alike), and
files that were changed by hand.
"""

import http.client
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

JUPYTER_SECONDS = 3.0
MOST_FILES = 2000
PTS = Path("/dev/pts")


def jupyter_use(port: int, token: str | None, now: float) -> tuple[float, str] | None:
    """Return when a kernel of the Jupyter server on loopback last worked, and a word for it; None where none did.

    The question itself leaves no trace in Jupyter's own record of activity.
    """
    kernels = _ask_jupyter(port, "/api/kernels?no_track_activity=1", token)
    found = []
    for kernel in kernels if isinstance(kernels, list) else []:
        if kernel.get("execution_state") == "busy":
            return now, "a notebook is running"
        moment = _moment(kernel.get("last_activity"))
        if moment is not None:
            found.append(moment)
    return (max(found), "a notebook was used") if found else None


def keys_typed(folder: Path = PTS) -> float | None:
    """Return when somebody last typed at a terminal of this container, to within 8 s, or None.

    The kernel notes in a terminal's access time when input was read from it (tty_io.c, tty_update_time), as
    w(1) shows it; what programs print does not count.
    """
    found = []
    for path in folder.glob("[0-9]*"):
        try:
            found.append(path.stat().st_atime)
        except OSError:
            continue
    return max(found, default=None)


def files_changed(folders: tuple[Path, ...]) -> float | None:
    """Return when a file in these folders (and their folders, not deeper) was last changed, or None.

    Looks at no more than 2000 files, since on a network volume each is a question over the network.
    """
    newest: float | None = None
    for number, entry in enumerate(_entries(folders)):
        if number >= MOST_FILES:
            break
        try:
            changed = entry.stat(follow_symlinks=False).st_mtime
        except OSError:
            continue
        newest = changed if newest is None else max(newest, changed)
    return newest


def _entries(folders: tuple[Path, ...]) -> Iterator[os.DirEntry[str]]:
    for folder in folders:
        for entry in _scan(folder):
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _scan(Path(entry.path))


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _ask_jupyter(port: int, path: str, token: str | None) -> Any:  # noqa: ANN401 - any JSON value
    """Return what the Jupyter server on loopback answers, or None."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=JUPYTER_SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": f"token {token}"} if token else {})
        response = connection.getresponse()
        return json.loads(response.read()) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def _moment(value: object) -> float | None:
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return None
