"""Removes the folders of jobs that ended long ago: on a volume that many workers share, nobody else does."""

import contextlib
import shutil
import time
from pathlib import Path

from musabi.serverless.job_folder import JobFolder
from musabi.serverless.places import TRASH, Places

SIGNS = ("request.json", "progress.json", "phases.json", "result.json")


def remove_old_jobs(places: Places, keep_s: float, now: float | None = None) -> list[str]:
    """Remove the folders in which nothing was told for `keep_s` seconds; return their names.

    A job that a process holds is never removed: a trainer that waits for its turn says nothing.
    """
    removed = []
    for path in places.jobs.glob("*"):
        if path.name.startswith(TRASH):  # another worker began to remove it, or was ended while it did
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_dir() and (time.time() if now is None else now) - last_word(path) > keep_s:
            with JobFolder(path).alone() as mine, contextlib.suppress(OSError):
                if mine:
                    trash = path.with_name(f"{TRASH}{path.name}")
                    path.rename(trash)
                    removed.append(path.name)
                    shutil.rmtree(trash, ignore_errors=True)
    return removed


def last_word(path: Path) -> float:
    """Return when something was told of a job (Unix seconds)."""
    times = [path.stat().st_mtime]
    for name in SIGNS:
        with contextlib.suppress(OSError):
            times.append((path / name).stat().st_mtime)
    return max(times)
