"""What the worker says, taken in line by line: captions are written as they come, or held for a preview."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musabi.captioning.plan import Uncaptioned
from musabi.captioning.text import Wording, caption_text
from musabi.captioning.writing import Writer

Say = Callable[[str], None]
NEWS_SECONDS = 10.0


@dataclass(frozen=True)
class Captioned:
    """A file with the caption that was made for it."""

    item: Uncaptioned
    text: str


class Harvest:
    """Takes the worker's lines. Until `release` is called captions are held, and nothing is written.

    Lines come in a thread of their own, so an error of the disk is kept in `broken` for the main thread.
    """

    def __init__(
        self, files: tuple[Uncaptioned, ...], wording: Wording, writer: Writer, say: Say, title: str
    ) -> None:
        self._items = {str(item.file): item for item in files}
        self._wording = wording
        self._writer = writer
        self._say = say
        self._title = title
        self._lock = threading.Lock()
        self._held: list[Captioned] | None = []
        self._began = self._told = time.monotonic()
        self.made: list[Captioned] = []
        self.written: list[Captioned] = []
        self.failed: list[tuple[Path, str]] = []
        self.broken: OSError | None = None
        self.last_words: tuple[str, str] = ("", "")

    @property
    def settled(self) -> int:
        """How many files were captioned or given up."""
        return len(self.made) + len(self.failed)

    @property
    def held(self) -> bool:
        return self._held is not None

    def finish(self, patience: float = 60) -> None:
        """Wait until every file is settled: the worker ended, and its last lines may still be under way."""
        deadline = time.monotonic() + patience
        while self.settled < len(self._items) and self.broken is None and time.monotonic() < deadline:
            time.sleep(0.02)

    def take(self, line: str) -> None:
        """Take a line of the worker's output; what is no JSON object is a library's chatter."""
        try:
            values = json.loads(line) if line.startswith("{") else None
        except json.JSONDecodeError:
            values = None
        if not isinstance(values, dict):
            return
        with self._lock:
            if "event" in values:
                self._event(values)
            elif values.get("file") in self._items:
                self._file(self._items[values["file"]], values)

    def release(self) -> None:
        """Write what was held, and from now on everything as it comes."""
        with self._lock:
            held, self._held = self._held or [], None
            self._told = time.monotonic()
            for captioned in held:
                self._write(captioned)

    def _file(self, item: Uncaptioned, values: Mapping[str, Any]) -> None:
        if "error" in values:
            self.failed.append((item.file, values["error"]))
            self._say(f"Passed over: {item.file} {values['error']}")
            return
        captioned = Captioned(
            item, caption_text(values["caption"], self._wording, cut=bool(values.get("cut")))
        )
        self.made.append(captioned)
        if self._held is not None:
            self._held.append(captioned)
        else:
            self._write(captioned)
            self._tell_how_far()

    def _write(self, captioned: Captioned) -> None:
        if self.broken is not None:
            return
        try:
            if self._writer.write(captioned.item, captioned.text):
                self.written.append(captioned)
        except OSError as problem:
            self.broken = problem

    def _event(self, values: Mapping[str, Any]) -> None:
        name = values["event"]
        if name == "loading":
            self._say(f"Loading {self._title}")
        elif name == "ready":
            self._began = time.monotonic()
            self._say(f"Ready after {values['seconds']:.0f} s")
        elif name == "smaller":
            self._say(
                f"The memory ran out. Going on with {values['batch']} at a time, of at most {values['side']} x "
                f"{values['side']} pixels."
            )
        elif name == "failed":
            self.last_words = (values["kind"], values["message"])

    def _tell_how_far(self) -> None:
        now = time.monotonic()
        if now - self._told < NEWS_SECONDS:
            return
        self._told = now
        pace = (now - self._began) / self.settled
        left = (len(self._items) - self.settled) * pace
        self._say(
            f"{self.settled} of {len(self._items)}, {pace:.1f} s each, about {max(1, round(left / 60))} min left"
        )
