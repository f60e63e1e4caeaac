"""The verbs that the page has started: children that go on when the page is closed, with what they say."""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from musabi.children import scrub, secrets

MOST_LINES = 200
MOST_KEPT = 30
MOST_BYTES = 65_536
LOOK_SECONDS = 0.25
QUICK_SECONDS = 80.0
"""Less than the 100 s after which the way to the browser ends a request."""


@dataclass
class Task:
    """A verb at work or ended. `code` is its exit code, None while it works; `ended` is Unix seconds."""

    id: str
    title: str
    words: tuple[str, ...]
    started: float
    done: str
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_LINES))
    code: int | None = None
    ended: float | None = None
    over: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def message(self) -> str:
        """What there is to say of it: why it failed, or that it is done."""
        if self.code is None:
            return self.lines[-1] if self.lines else "Started."
        if self.code == 0:
            return self.done
        errors = [line for line in self.lines if line.startswith("Error: ")]
        said = errors[-1].removeprefix("Error: ") if errors else next(iter(reversed(self.lines)), "")
        return said or f"It ended with exit code {self.code}."


class Doing:
    """Starts verbs and remembers the newest ones, for as long as the server runs."""

    def __init__(self, environ: Mapping[str, str], hidden: Sequence[str] = ()) -> None:
        self._environ = dict(environ) | {"NO_COLOR": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "120"}
        self._hidden = (*hidden, *secrets(environ))
        self._tasks: dict[str, Task] = {}
        self._lock = threading.Lock()

    @property
    def tasks(self) -> list[Task]:
        """Return the verbs, newest first."""
        with self._lock:
            return sorted(self._tasks.values(), key=lambda task: -task.started)

    def start(self, title: str, words: Sequence[str], done: str) -> Task:
        """Start `musabi WORDS...` in a session of its own.

        Raises:
            OSError: it can't be started.
        """
        said = tempfile.TemporaryFile()  # noqa: SIM115 - no pipe: it would break with this server, and end the verb
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "musabi", *words],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        task = Task(uuid.uuid4().hex, title, tuple(words), time.time(), done)
        with self._lock:
            self._tasks[task.id] = task
            ended = [one for one in self._tasks.values() if one.code is not None]
            for old in sorted(ended, key=lambda one: one.started)[: max(0, len(self._tasks) - MOST_KEPT)]:
                del self._tasks[old.id]
        threading.Thread(
            target=self._follow, args=(task, process, said), name=f"verb {words[0]}", daemon=True
        ).start()
        return task

    def do(self, title: str, words: Sequence[str], done: str, seconds: float = QUICK_SECONDS) -> Task:
        """Start a verb and wait for its end, at most `seconds`; it then goes on."""
        task = self.start(title, words, done)
        task.over.wait(seconds)
        return task

    def _follow(self, task: Task, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        code, position, rest = None, 0, b""
        while code is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(LOOK_SECONDS)
            while new := os.pread(said.fileno(), MOST_BYTES, position):
                position += len(new)
                *lines, rest = (rest + new).replace(b"\r", b"\n").split(b"\n")
                self._take(task, lines)
                rest = rest[-MOST_BYTES:]
        self._take(task, [rest])
        said.close()
        task.ended = time.time()
        task.code = code
        task.over.set()

    def _take(self, task: Task, lines: Sequence[bytes]) -> None:
        for line in lines:
            if text := scrub(line.decode("utf-8", "replace").rstrip(), self._hidden):
                task.lines.append(text)
