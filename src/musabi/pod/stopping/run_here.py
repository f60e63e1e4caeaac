"""The runs that go on in this container, and ending one so that it saves.

A network volume may be shared: the runs of other pods lie beside ours, and are none of our business.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from musabi.identity import identity
from musabi.job.launch import STOP_SECONDS, ask_to_stop
from musabi.job.publishing import unpublished_run
from musabi.job.queue import JobState, Queue, folder_of, is_carried_out
from musabi.job.record import RunFolder, RunRecord, RunState, process_start
from musabi.pod.aside import Aside
from musabi.pod.stopping.deadline import Announcement
from musabi.whole import read_json
from musabi.workspace import Workspace

GOING_ON = (RunState.PLANNED, RunState.RUNNING)


def running_folders(space: Workspace, *, besides: int | None = None) -> list[RunFolder]:
    """Return the runs that go on in this container, newest first; the run of process `besides` does not count.

    A record that can't be read is of no run that goes on.
    """
    found = []
    for folder, record in _records_here(space):
        if record.state not in GOING_ON or (besides is not None and record.pid == besides):
            continue
        if _lives(record) or (record.container == identity() and folder.runner_is_alive(record)):
            found.append(folder)
    return found


def running_folder(space: Workspace, *, besides: int | None = None) -> RunFolder | None:
    """Return the newest run that goes on in this container, or None."""
    return next(iter(running_folders(space, besides=besides)), None)


def running_run(space: Workspace, *, besides: int | None = None) -> str | None:
    """Return the id of the newest run that goes on in this container, or None."""
    folder = running_folder(space, besides=besides)
    return None if folder is None else folder.path.name


def work_going_on(space: Workspace, *, besides: int | None = None) -> str | None:
    """Return what goes on: a run of this container, or the queue between two of its runs; or None."""
    return running_run(space, besides=besides) or ("musabi queue run" if is_carried_out(space) else None)


def work_beside_the_queue(space: Workspace) -> str | None:
    """Return what goes on or waits when the queue's own process is through: a run, or a job added since; or None."""
    waiting = [job.number for job in Queue(folder_of(space)).jobs() if job.state is JobState.WAITING]
    return running_run(space) or (f"job {waiting[0]} of the queue" if waiting else None)


def softened(
    announcement: Announcement, space: Workspace, aside: Aside, say: Callable[[str], None]
) -> Announcement:
    """Return a deletion as a stop where a run's publishing failed: what it made exists only here."""
    if announcement.action != "delete":
        return announcement
    try:
        run = aside.do("the runs", lambda: unpublished_run(space.runs))
    except OSError:  # it hangs: so it is a network volume, which a deletion keeps
        return announcement
    if run is None:
        return announcement
    say(
        f"The pod is stopped and not deleted, because publishing {run} failed and its results exist only here. "
        f"Once that is mended: musabi publish {run}"
    )
    return replace(announcement, action="stop")


def run_at_its_end(space: Workspace, *, besides: int | None = None) -> str | None:
    """Return the id of a run of this container that has ended and still writes its report or publishes, or None."""
    for folder, record in _records_here(space):
        ended = record.state not in GOING_ON and record.pid != besides
        if ended and folder.after_file.exists() and _lives(record):
            return folder.path.name
    return None


def ending_folder(space: Workspace) -> RunFolder | None:
    """Return the run of this container that has ended but whose process still works: it publishes or counts down."""
    for folder, record in _records_here(space):
        if record.state not in GOING_ON and _lives(record):
            return folder
    return None


def end_run(
    folder: RunFolder,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    limit_s: float = STOP_SECONDS,
    aside: Aside | None = None,
) -> None:
    """Ask a run to stop and wait until it has, at most `limit_s` seconds; say what was saved and lost.

    Raises:
        TimeoutError: the volume with its record does not answer.
    """
    aside = Aside() if aside is None else aside
    say(f"{folder.path.name} is asked to stop first, so that it saves what it can.")
    aside.do("asking the run to stop", lambda: ask_to_stop(folder))
    end = time.monotonic() + limit_s
    while (record := aside.do("the run's record", folder.load)).state in GOING_ON:
        if time.monotonic() > end:
            say(f"WARNING: {record.id} did not end within {limit_s:.0f} s. The pod ends all the same.")
            return
        sleep(0.5)
    say(record.message or f"{record.id}: {record.state.value}.")


def _records_here(space: Workspace) -> Iterator[tuple[RunFolder, RunRecord]]:
    """Yield this container's runs with their records, newest first; those that name no container, too."""
    found = []
    for path in space.runs.glob("*/record.json"):
        try:
            values = read_json(path)
            if isinstance(values, dict) and _is_here(str(values.get("container", ""))):
                found.append((RunFolder(path.parent), RunRecord.model_validate(values)))
        except (OSError, ValueError):
            continue
    yield from sorted(found, key=lambda pair: pair[1].created, reverse=True)


def _is_here(container: str) -> bool:
    """Tell whether a record's process ids mean something here: the same boot and process-id namespace.

    The pod's id, the first word, may be missing where a run was started from a shell without RUNPOD_POD_ID.
    """
    if container in ("", identity()):
        return True
    place = container.split()[1:]
    return "?" not in place and place == identity().split()[1:]


def _lives(record: RunRecord) -> bool:
    """Tell whether the very process of a record runs here."""
    return (
        record.pid is not None
        and record.pid_started is not None
        and process_start(record.pid) == record.pid_started
    )
