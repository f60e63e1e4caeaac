"""A hidden folder beside a dataset folder for what is not whole yet, cleared away whoever made it.

Its name says whose it is, so that there is no moment at which it is nobody's.
"""

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from musabi.identity import identity, is_gone
from musabi.job.record import own_process, process_start

ABANDONED_SECONDS = 24 * 3600
"""After so long without a change, the folder of another container that nobody knows of is taken for dead."""


@contextmanager
def staging_beside(target: Path) -> Iterator[Path]:
    """Yield an empty folder on the disk of `target`, gone when the block ends; those of killed processes go too.

    Raises:
        OSError: the folder can't be made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name[:30]}.incoming-"
    for left in target.parent.iterdir():
        if left.name.startswith(prefix) and _abandoned(left, left.name.removeprefix(prefix)):
            shutil.rmtree(left, ignore_errors=True)
    pid, started = own_process()
    owner = "~".join((quote(identity(), safe=""), str(pid), str(started), uuid.uuid4().hex[:8]))
    folder = target.parent / f"{prefix}{owner}"
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _abandoned(folder: Path, owner: str) -> bool:
    container, pid, started = [*owner.split("~"), "", "", ""][:3]
    if unquote(container) == identity():
        return str(process_start(int(pid))) != started
    return is_gone(unquote(container)) or time.time() - folder.stat().st_mtime > ABANDONED_SECONDS
