"""Values that take their time: asked for in a thread, one at a time, and never waited for long."""

import threading
import time
from collections.abc import Callable

import pytest

from musabi.watch.page import behind
from musabi.watch.page.behind import Behind, kept


def test_a_quick_value_is_there_at_the_first_look_and_made_again_when_it_is_old() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    fresh, old = Behind(make, lambda _: 60.0), Behind(make, lambda _: 0.0)
    assert [fresh.newest(), fresh.newest()] == [1, 1]
    assert old.newest() == 2
    until = time.monotonic() + 5
    while old.newest() == 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert (old.newest() or 0) > 2


def test_one_that_hangs_is_not_waited_for_nor_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behind, "FAILED_SECONDS", 0.0)
    over, begun = threading.Event(), []

    def make() -> str:
        begun.append(1)
        over.wait(20)
        return "late"

    slow = Behind(make, lambda _: 60.0)
    start = time.monotonic()
    assert slow.newest() is None and slow.newest() is None
    assert time.monotonic() - start < 3 and begun == [1]
    over.set()
    until = time.monotonic() + 5
    while slow.newest() is None and time.monotonic() < until:
        time.sleep(0.01)
    assert slow.newest() == "late" and begun == [1]


def test_what_is_kept_is_made_once() -> None:
    memory: dict[str, object] = {}
    first: Callable[[], list[int]] = lambda: [1]  # noqa: E731
    assert kept(memory, "a", first) is kept(memory, "a", lambda: [2])
