"""The output of this engine's child processes: events as JSON lines, everything else is text for the log."""

from musabi.job import events
from musabi.job.events import Event


class JsonLines:
    """Collects output until lines are whole, and gives back the events among them."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> list[Event]:
        """Take the next piece of the output, of any length."""
        *lines, self._rest = (self._rest + text).split("\n")
        found = (events.parse(line.strip()) for line in lines)
        return [event for event in found if event is not None]
