"""Where a run's files are to be published, and whether that failed: two small files in the run's folder.

Whoever ends a run may be another process than the one that started it, with other settings.
"""

import time
from pathlib import Path

from musabi.job.record import RunFolder
from musabi.whole import read_json, write_json

DESTINATION = "publish.json"
MARK = "unpublished.json"


def note_destination(folder: RunFolder, destination: str | None) -> None:
    """Note what PUBLISH_TO says for this run; None: it is not published."""
    write_json(folder.path / DESTINATION, {"to": destination}, 0o600)


def destination_of(folder: RunFolder, otherwise: str | None) -> str | None:
    """Return what PUBLISH_TO said when this run was started; `otherwise` where the run notes nothing."""
    values = read_json(folder.path / DESTINATION)
    if not isinstance(values, dict) or "to" not in values:
        return otherwise
    return None if values["to"] is None else str(values["to"])


def mark_unpublished(folder: RunFolder) -> None:
    """Leave the mark that publishing failed, so that what the run made exists only here."""
    write_json(folder.path / MARK, {"t": time.time()})


def mark_published(folder: RunFolder) -> None:
    """Take that mark away."""
    (folder.path / MARK).unlink(missing_ok=True)


def unpublished_run(runs: Path) -> str | None:
    """Return the id of a run under `runs` whose publishing failed, or None."""
    return next((path.parent.name for path in sorted(runs.glob(f"*/{MARK}"))), None)
