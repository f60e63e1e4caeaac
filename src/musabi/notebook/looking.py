"""Looking on at a run from a cell: the run goes on whatever happens to the cell, its tab or its kernel."""

import time
from urllib.parse import quote

from musabi.job.record import RunFolder, RunRecord, RunState
from musabi.notebook.chosen import environment, settings
from musabi.notebook.jupyter import status_url
from musabi.notebook.output import show_replaceable
from musabi.notebook.plain import CellError
from musabi.pod.state_dir import found_places
from musabi.watch.status import Status
from musabi.watch.status_html import cell as as_cell

GOING_ON = (RunState.PLANNED, RunState.RUNNING)
POLL_SECONDS = 1.0


def look_on(folder: RunFolder) -> RunRecord:
    """Show a run's progress until it ends; return its record.

    In the pod the output is the run's page: it goes on by itself in a tab that was closed and opened again.

    Raises:
        CellError: the run did not end well, or Kernel, Interrupt left it to itself.
    """
    status = Status(settings(), found_places(environment()))
    live = status_url(found_places(environment()))
    replace = show_replaceable(_frame(live, folder.path.name) if live else _card(status, folder))
    shown = ""
    try:
        while (record := folder.load()).state in GOING_ON:
            card = "" if live else _card(status, folder)
            if card != shown:
                replace(card)
                shown = card
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        raise CellError(
            f"{folder.path.name} goes on. Run this cell again to look on, or musabi.stop_run() to end it."
        ) from None
    replace(_card(status, folder))
    if record.state is not RunState.DONE:
        raise CellError(_outcome(record))
    return record


def _card(status: Status, folder: RunFolder) -> str:
    return as_cell(status.look(run=folder.path.name), ("run",))


def _frame(url: str, run: str) -> str:
    address = f"{url}run?id={quote(run)}"
    # Within another element: IPython warns of output that begins with a frame.
    return (
        f'<div><iframe src="{address}" title="Progress of the run" width="100%" height="420" '
        'frameborder="0"></iframe></div>'
    )


def _outcome(record: RunRecord) -> str:
    said = (record.message or "Its process is gone without a word.").strip()
    what = {
        RunState.FAILED: "failed",
        RunState.STOPPED: "was stopped",
        RunState.INTERRUPTED: "was interrupted",
    }[record.state]
    return f"{record.id} {what}. {said}\nTo go on from the newest saved state, run this cell again."
