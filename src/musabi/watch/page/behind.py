"""Values that take their time, made in a thread while somebody looks: a page never waits for a disk or a driver."""

import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
FIRST_SECONDS = 0.3
"""The first look waits so long, so that a quick value is on the page from the start."""

FAILED_SECONDS = 60.0
"""One that raised is not begun again sooner; what it raised is in the server's log."""


class Behind(Generic[T]):
    """A value that `make` makes anew when it is asked for and older than `every` says, in seconds.

    One that does not come back (a network volume that hangs holds whoever asks it) is not begun again before it has.
    """

    def __init__(self, make: Callable[[], T], every: Callable[[T], float]) -> None:
        self._make = make
        self._every = every
        self._value: T | None = None
        self._due = 0.0
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def newest(self) -> T | None:
        """Return the newest value; None: there is none yet."""
        with self._lock:
            thread = self._thread
            if (thread is None or not thread.is_alive()) and time.monotonic() >= self._due:
                thread = self._thread = threading.Thread(target=self._work, name="look", daemon=True)
                thread.start()
        if self._value is None and thread is not None:
            thread.join(FIRST_SECONDS)
        return self._value

    def _work(self) -> None:
        self._due = time.monotonic() + FAILED_SECONDS
        value = self._make()
        self._value, self._due = value, time.monotonic() + self._every(value)


def kept(memory: MutableMapping[str, Any], name: str, make: Callable[[], T]) -> T:
    """Return what `memory` holds under that name; made where it holds nothing."""
    if name not in memory:
        memory.setdefault(name, make())
    return cast(T, memory[name])
