"""The run that goes on in this workspace, and ending it so that it saves."""

import time
from collections.abc import Callable

from musabi.errors import MusabiError
from musabi.job.launch import ask_to_stop
from musabi.job.record import RunFolder, RunState, newest_run
from musabi.workspace import Workspace

# As long as `musabi stop` waits: a state of the full model takes a while to write.
END_SECONDS = 330.0


def running_folder(space: Workspace) -> RunFolder | None:
    """Return the run that goes on, or None. A record that can't be read is of no run that goes on."""
    try:
        newest = newest_run(space.runs)
        goes_on = newest is not None and newest.load().state in (RunState.PLANNED, RunState.RUNNING)
    except (OSError, ValueError, MusabiError):
        return None
    return newest if goes_on else None


def running_run(space: Workspace) -> str | None:
    """Return the id of the run that goes on, or None."""
    folder = running_folder(space)
    return None if folder is None else folder.path.name


def end_run(
    folder: RunFolder,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    limit_s: float = END_SECONDS,
) -> None:
    """Ask a run to stop and wait until it has, at most `limit_s` seconds; say what was saved and lost."""
    say(f"{folder.path.name} is asked to stop first, so that it saves what it can.")
    ask_to_stop(folder)
    end = time.monotonic() + limit_s
    while (record := folder.load()).state in (RunState.PLANNED, RunState.RUNNING):
        if time.monotonic() > end:
            say(f"WARNING: {record.id} did not end within {limit_s:.0f} s. The pod ends all the same.")
            return
        sleep(0.5)
    say(record.message or f"{record.id}: {record.state.value}.")
