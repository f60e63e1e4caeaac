"""What a runner writes down: log, events, record. No full disk, or one that is away for a while, ends a training."""

import contextlib
from collections.abc import Iterator

from musabi.job.events import Event
from musabi.job.record import RunFolder, RunRecord


class Diary:
    """The files of one run that others read. What can't be written is said once, where that can be written."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._told: set[tuple[str, int | None]] = set()

    @contextlib.contextmanager
    def in_spite_of_the_disk(self, doing: str) -> Iterator[None]:
        """Go on where the disk fails; what `doing` met is said once."""
        try:
            yield
        except OSError as problem:
            self.trouble(doing, problem)

    def trouble(self, doing: str, problem: OSError) -> None:
        """Say once what `doing` met."""
        if (doing, problem.errno) in self._told:
            return
        said = f"{doing} failed: {problem.strerror or problem}. The run goes on and tries again."
        with contextlib.suppress(OSError):
            self._write_event(Event(phase="run", message=said))
            self._told.add((doing, problem.errno))

    def log(self, text: str) -> None:
        """Add to log.txt, which is made where it is not there."""
        with (
            self.in_spite_of_the_disk("Writing the log"),
            self._folder.log_file.open("a", encoding="utf-8") as log,
        ):
            log.write(text)

    def save(self, record: RunRecord) -> None:
        """Replace the record."""
        with self.in_spite_of_the_disk("Writing the record"):
            self._folder.save(record)

    def emit(self, event: Event) -> None:
        """Add an event."""
        with self.in_spite_of_the_disk("Writing the events"):
            self._write_event(event)

    def _write_event(self, event: Event) -> None:
        with self._folder.events_file.open("a", encoding="utf-8") as file:
            file.write(event.to_json() + "\n")
