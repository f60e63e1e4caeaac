"""What /stream gives: of each job the progress that came since the client last asked, then its answer, once."""

import threading
from collections import OrderedDict
from typing import Any

MOST_ITEMS = 500
MOST_JOBS = 500


class Streams:
    """New progress by job, in memory. The oldest leaves where a client never asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: OrderedDict[str, list[dict[str, Any]]] = OrderedDict()
        self._answered: OrderedDict[str, None] = OrderedDict()

    def add(self, job_id: str, item: dict[str, Any]) -> None:
        """Note what a client is to be told."""
        with self._lock:
            items = self._items.setdefault(job_id, [])
            items.append(item)
            del items[:-MOST_ITEMS]
            self._items.move_to_end(job_id)
            while len(self._items) > MOST_JOBS:
                self._items.popitem(last=False)

    def begin_again(self, job_id: str) -> None:
        """Forget a job that is sent again."""
        with self._lock:
            self._items.pop(job_id, None)
            self._answered.pop(job_id, None)

    def take(self, job_id: str, answer: Any = None) -> list[Any]:  # noqa: ANN401 - any JSON value
        """Return what is new, and last the `answer` of a job that has ended, where it was not given yet."""
        with self._lock:
            items: list[Any] = self._items.pop(job_id, [])
            if answer is not None and job_id not in self._answered:
                self._answered[job_id] = None
                items.append(answer)
                while len(self._answered) > MOST_JOBS:
                    self._answered.popitem(last=False)
            return items
