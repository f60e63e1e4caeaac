"""What a person sees of jobs on endpoints: a table, once or until all have ended."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from musabi.commands.asking_endpoints import Asking
from musabi.commands.show import say, say_json
from musabi.errors import ExitCode, MachineError

if TYPE_CHECKING:
    from musabi.serverless.client.remembered import KnownJob, Remembered

LOOK_SECONDS = 3.0
QUIET_SECONDS = 10.0
FAILED_LOOKS = 20
"""So often in a row nothing can be found out before watching ends: each look has tried for a while."""


def show(jobs: "Sequence[KnownJob]", notes: Sequence[str]) -> None:
    """Print the table, and below it in full what did not fit."""
    from musabi.serverless.client.table import in_full, lines

    if not jobs:
        say("No jobs. Submit one with: musabi submit request.json --endpoint ID")
    else:
        table = lines(jobs, shutil.get_terminal_size((100, 24)).columns)
        say("\n".join(table))
        for job, line in zip(jobs, table[1:], strict=True):
            if line.endswith("…") and (whole := in_full(job)):
                say(f"{job.name}: {whole}")
    for note in notes:
        say(f"Note: {note}")


def look_on(
    known: "Remembered", jobs: "Sequence[KnownJob]", *, as_json: bool, just_sent: bool = False
) -> None:
    """Show the jobs until all have ended; exit with 4 where one did not end well that went on before.

    Of jobs that were `just_sent` one that has ended already is news, too.
    """
    going = {job.id for job in jobs if just_sent or not job.has_ended}
    try:
        with Asking(known) as asking:
            ended = until_all_ended(asking, jobs, quiet=as_json)
    except KeyboardInterrupt:
        if not as_json:
            say("The jobs go on. Look again with: musabi jobs watch")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if as_json:
        say_json({"jobs": [asdict(job) for job in ended], "notes": list(asking.trouble)})
    else:
        from musabi.serverless.client.table import summary

        show(ended, asking.trouble)
        if ended:
            say(summary(ended) + ".")
    if any(job.state != "COMPLETED" for job in ended if job.id in going):
        raise typer.Exit(ExitCode.TRAINER_FAILED)


def until_all_ended(asking: Asking, jobs: "Sequence[KnownJob]", *, quiet: bool) -> "list[KnownJob]":
    """Look again and again; tell how it stands as it changes.

    Raises:
        MachineError: nothing could be found out for a long time.
    """
    now, failed = list(jobs), 0
    with shown_as_it_changes(quiet=quiet) as tell:
        while True:
            now = asking.look(now)
            failed = failed + 1 if asking.trouble else 0
            if failed >= FAILED_LOOKS:
                raise MachineError(f"{asking.trouble[0]} The jobs go on. Look again with: musabi jobs watch")
            if all(job.has_ended for job in now):
                return now
            tell(now, asking.trouble)
            time.sleep(LOOK_SECONDS)


@contextmanager
def shown_as_it_changes(*, quiet: bool) -> "Iterator[Callable[[Sequence[KnownJob], Sequence[str]], None]]":
    """Yield what shows the table: one that moves in a terminal, the lines that changed elsewhere."""
    if quiet:
        yield lambda _jobs, _notes: None
    elif not sys.stdout.isatty():
        yield Changes().tell
    else:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        from musabi.serverless.client.table import lines

        console = Console(highlight=False)
        with Live(console=console, transient=True, auto_refresh=False) as live:

            def tell(jobs: "Sequence[KnownJob]", notes: Sequence[str]) -> None:
                shown = [*lines(jobs, console.width), *(f"Note: {note}" for note in notes)]
                live.update(Text("\n".join(shown), overflow="ellipsis", no_wrap=True), refresh=True)

            yield tell


class Changes:
    """Prints the lines that changed, now and then."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        self._last = float("-inf")

    def tell(self, jobs: "Sequence[KnownJob]", notes: Sequence[str]) -> None:
        from musabi.serverless.client.table import lines

        if time.monotonic() - self._last < QUIET_SECONDS:
            return
        self._last = time.monotonic()
        for job, line in zip(jobs, lines(jobs, 160)[1:], strict=True):
            if self._said.get(job.id) != line:
                self._said[job.id] = line
                say(line)
        for note in notes:
            say(f"Note: {note}")
