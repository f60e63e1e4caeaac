"""What a client sees of a Runpod job while it waits: posted now and then, and never close to the answer.

Runpod's own progress_update posts from a thread that nobody waits for, so its post can arrive after the answer
(seen in 5 of 6 short jobs) or after a later post. Here a post waits for the one before, and the answer for all.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

Post = Callable[[dict[str, Any], dict[str, Any]], None]
"""Runpod's progress_update: takes the job (its id is enough) and any JSON object, and returns at once."""
EVERY_SECONDS = 5.0
SETTLE_SECONDS = 10.0


class Posts:
    """The progress posts of one job; not to be shared between threads."""

    def __init__(self, post: Post, job_id: str, every_s: float = EVERY_SECONDS) -> None:
        self._post = post
        self._job = {"id": job_id}  # never the job itself: its input holds the request's secrets
        self._every_s = every_s
        self._said: Mapping[str, Any] = {}
        self._next = 0.0
        self._threads: set[threading.Thread] = set()

    def look(self, progress: Mapping[str, Any] | None) -> None:
        """Post the progress where it says something new and the last post was long enough ago."""
        said = {name: value for name, value in (progress or {}).items() if name != "t"}
        if not said or said == self._said or time.monotonic() < self._next or self._under_way():
            return
        self._said, self._next = said, time.monotonic() + self._every_s
        before = set(threading.enumerate())
        self._post(self._job, dict(progress or {}))
        self._threads = set(threading.enumerate()) - before

    def settle(self, limit_s: float = SETTLE_SECONDS) -> None:
        """Wait until what was posted has arrived, at most `limit_s` seconds."""
        deadline = time.monotonic() + limit_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _under_way(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)
