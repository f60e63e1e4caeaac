"""What a person sees while several runs go on: one line each."""

import sys
import time
from collections.abc import Iterator, Sequence

from musabi.commands.view import GOING_ON, POLL_SECONDS, QUIET_LINE_SECONDS, describe
from musabi.job.events import Event, parse
from musabi.job.record import RunFolder


class RunLine:
    """One run as a line. It reads on in the run's events where it left off."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.text = "starting"
        self._position = 0

    def look(self) -> bool:
        """Read what is new; tell whether the run has ended."""
        record = self.folder.load()
        for event in self._new_events():
            self.text = _words(event) or self.text
        over = record.state not in GOING_ON
        if over:
            self.text = record.state.value + (f". {record.message}" if record.message else "")
        return over

    def _new_events(self) -> Iterator[Event]:
        if not self.folder.events_file.exists():
            return
        with self.folder.events_file.open(encoding="utf-8") as file:
            file.seek(self._position)
            while (line := file.readline()).endswith("\n"):
                self._position = file.tell()
                event = parse(line)
                if event is not None:
                    yield event

    def __str__(self) -> str:
        return f"{self.folder.path.name}: {self.text}"


def watch_all(folders: Sequence[RunFolder]) -> None:
    """Show the runs until all have ended. Ctrl-C passes through as KeyboardInterrupt."""
    lines = [RunLine(folder) for folder in folders]
    if sys.stdout.isatty():
        _watch_terminal(lines)
    else:
        _watch_plain(lines)


def _watch_plain(lines: list[RunLine]) -> None:
    said: dict[str, str] = {}
    last = float("-inf")
    while True:
        over = _all_ended(lines)
        if over or time.monotonic() - last >= QUIET_LINE_SECONDS:
            for line in lines:
                if said.get(line.folder.path.name) != line.text:
                    print(line, flush=True)
                    said[line.folder.path.name] = line.text
            last = time.monotonic()
        if over:
            return
        time.sleep(POLL_SECONDS)


def _watch_terminal(lines: list[RunLine]) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), transient=True, auto_refresh=False) as live:
        while not _all_ended(lines):
            live.update(Text("\n".join(map(str, lines)), overflow="ellipsis", no_wrap=True), refresh=True)
            time.sleep(POLL_SECONDS)


def _all_ended(lines: list[RunLine]) -> bool:
    return sum(line.look() for line in lines) == len(lines)


def _words(event: Event) -> str | None:
    if event.phase == "run" or event.kind == "fixed-loss":
        return None
    if event.step is not None and event.file is None:
        return describe(event)
    return event.message
