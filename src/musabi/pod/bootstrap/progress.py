"""How the bootstrap shows itself: a line a stage in a terminal, plain lines elsewhere, or JSON lines."""

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

WORDS = {
    "running": "...",
    "done": "done",
    "skipped": "there already",
    "failed": "FAILED",
    "blocked": "not started",
    "interrupted": "interrupted",
}
PLAIN_EVERY_SECONDS = 15.0
JSON_EVERY_SECONDS = 1.0


class Display(Protocol):
    """Hears of every change of a stage; `values` are those of `bootstrap_status`."""

    def show(self, stage: str, values: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


def line(stage: str, values: dict[str, Any]) -> str:
    """Return one line for a stage: its name, how it stands, bytes and time left, its message."""
    parts = [f"{stage:<12}{WORDS.get(values.get('state', ''), values.get('state', ''))}"]
    if values.get("state") == "running" and values.get("total"):
        here, total = values.get("bytes", 0), values["total"]
        parts.append(f"{here / 1e9:.2f} of {total / 1e9:.2f} GB ({100 * here // total}%)")
        if values.get("eta_s") is not None:
            minutes, seconds = divmod(round(values["eta_s"]), 60)
            parts.append(f"{minutes}:{seconds:02d} left")
    if values.get("state") == "done" and values.get("started"):
        parts.append(f"{values['ended'] - values['started']:.1f} s")
    if values.get("message"):
        parts.append(str(values["message"]))
    return "  ".join(parts)


class Lines:
    """Prints a line for each change of a stage's state or message, and for its bytes now and then.

    Stages report from threads of their own, so a line is written whole, one at a time.
    """

    def __init__(self, write: Callable[[str, dict[str, Any]], str], every_s: float) -> None:
        self._write = write
        self._every_s = every_s
        self._seen: dict[str, tuple[Any, float]] = {}
        self._lock = threading.Lock()

    def show(self, stage: str, values: dict[str, Any]) -> None:
        key = (values.get("state"), values.get("message"))
        with self._lock:
            before, at = self._seen.get(stage, (None, 0.0))
            now = time.monotonic()
            if key != before or now - at >= self._every_s:
                self._seen[stage] = (key, now)
                sys.stdout.write(self._write(stage, values) + "\n")
                sys.stdout.flush()

    def close(self) -> None:
        """Nothing to put away."""


def json_line(stage: str, values: dict[str, Any]) -> str:
    """Return `{"t", "phase": "bootstrap", "stage", "state", ...}`."""
    about = {"t": round(time.time(), 3), "phase": "bootstrap", "stage": stage}
    return json.dumps(about | values, ensure_ascii=False)


class TerminalLines:
    """One line a stage that moves in place."""

    def __init__(self, stages: list[str]) -> None:
        from rich.live import Live

        self._values: dict[str, dict[str, Any]] = {name: {"state": "waiting"} for name in stages}
        self._lock = threading.Lock()
        self._live = Live(self._text(), refresh_per_second=5)
        self._live.start()

    def show(self, stage: str, values: dict[str, Any]) -> None:
        with self._lock:
            self._values[stage] = values
            self._live.update(self._text())

    def close(self) -> None:
        self._live.stop()

    def _text(self) -> Any:  # noqa: ANN401 - rich is imported only where it is used
        from rich.text import Text

        return Text("\n".join(line(name, values) for name, values in self._values.items()), overflow="fold")


def display(as_json: bool, stages: list[str]) -> Display:
    """Return the display that fits: JSON lines, a terminal's, or plain lines."""
    if as_json:
        return Lines(json_line, JSON_EVERY_SECONDS)
    return TerminalLines(stages) if sys.stdout.isatty() else Lines(line, PLAIN_EVERY_SECONDS)
