"""Looks at the volume, done aside: a network volume that hangs holds whoever asks it, for ever."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

# Records are a few KB each; a volume that takes longer for them than this does not answer.
LIMIT_SECONDS = 20.0
MEANWHILE_SECONDS = 0.02

T = TypeVar("T")


class Aside:
    """Does things in threads of their own, since nothing ends one that the kernel holds.

    One that did not come back is not begun again before it has, so that no more than one waits under a name.
    `meanwhile` is called again and again while one is waited for, and may raise.
    """

    def __init__(self, limit_s: float = LIMIT_SECONDS, meanwhile: Callable[[], None] | None = None) -> None:
        self._limit_s = limit_s
        self._meanwhile = meanwhile
        self._late: dict[str, threading.Thread] = {}

    def do(self, name: str, what: Callable[[], T]) -> T:
        """Return what `what` returns, and raise what it raises.

        Raises:
            TimeoutError: it did not come back within the limit, or an earlier one of this name still has not.
        """
        late = self._late.get(name)
        if late is not None and late.is_alive():
            raise TimeoutError(f"the volume does not answer ({name})")
        found: list[T] = []
        problems: list[Exception] = []

        def work() -> None:
            try:
                found.append(what())
            except Exception as problem:
                problems.append(problem)

        self._late[name] = thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._wait(thread)
        if problems:
            raise problems[0]
        if found:
            return found[0]
        raise TimeoutError(f"the volume did not answer within {self._limit_s:g} s ({name})")

    def _wait(self, thread: threading.Thread) -> None:
        if self._meanwhile is None:
            thread.join(self._limit_s)
            return
        until = time.monotonic() + self._limit_s
        while thread.is_alive() and time.monotonic() < until:
            thread.join(MEANWHILE_SECONDS)
            self._meanwhile()
