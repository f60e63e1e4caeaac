"""A job's answer on the container's own disk, for where its folder's disk has no room even for that."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from musabi.whole import read_json, write_json


def keep(folder: Path, answer: dict[str, Any]) -> None:
    """Keep the answer of the job in `folder`, for a reader in this container.

    Raises:
        OSError: there is no room here either.
    """
    write_json(_file(folder), answer, mode=0o600, sync=False)


def find(folder: Path) -> dict[str, Any] | None:
    """Return the answer that was kept, None where none was; a file of another user is none."""
    with contextlib.suppress(OSError):
        if _file(folder).lstat().st_uid == os.getuid():
            value = read_json(_file(folder))
            return value if isinstance(value, dict) else None
    return None


def drop(folder: Path) -> None:
    """Forget the answer of an earlier try."""
    with contextlib.suppress(OSError):
        _file(folder).unlink()


def _file(folder: Path) -> Path:
    name = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()
    return Path(tempfile.gettempdir()) / f"musabi-answer-{os.getuid()}-{name[:32]}.json"
