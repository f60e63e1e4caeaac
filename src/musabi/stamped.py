"""Folders that are named after the moment when they were made."""

import time
from pathlib import Path

from musabi.errors import RequestError


def stamped_folder(place: Path, begins: str, too_many: str) -> Path:
    """Make a folder in `place` whose name is `begins` and the local time, never one that is there.

    Raises:
        RequestError: there are too many of this second, as `too_many` says.
    """
    stamp = f"{begins}{time.strftime('%Y%m%d-%H%M%S')}"
    for number in range(1, 1000):
        path = place / (stamp + (f"-{number}" if number > 1 else ""))
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise RequestError(too_many)
