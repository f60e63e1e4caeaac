"""The queue's file: order, bounds, what outlives a restart, and that no secret is in it."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from musabi.errors import MachineError
from musabi.serverless.queue.rows import NewJob
from musabi.serverless.queue.states import State
from musabi.serverless.queue.store import KEEP_ROWS_SECONDS, Full, Store


class Clock:
    def __init__(self) -> None:
        self.t = 1_000_000.0

    def __call__(self) -> float:
        return self.t


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    made = Store(tmp_path / "queue.sqlite3", clock)
    yield made
    made.close()


def add(store: Store, name: str, **more: object) -> str:
    store.add(NewJob(id=name, input={"name": name}, **more), 1000)  # type: ignore[arg-type]
    return name


def taken(store: Store, slot: int = 0) -> str | None:
    job = store.next_for(slot)
    return job.id if job else None


def test_jobs_are_given_out_in_the_order_they_came_and_those_of_low_priority_last(store: Store) -> None:
    for name in ("a", "b", "c", "d"):
        add(store, name, low=name == "a")
    assert [taken(store, slot) for slot in range(5)] == ["b", "c", "d", "a", None]


def test_a_retried_job_goes_behind_those_that_wait(store: Store) -> None:
    add(store, "a")
    taken(store)
    store.finish("a", State.FAILED, {"status": "failed"})
    add(store, "b")
    assert store.retry("a", (), 1000)
    assert [taken(store, slot) for slot in (0, 1)] == ["b", "a"]
    again = store.get("a")
    assert again is not None and again.retries == 1 and again.output is None


def test_an_interrupted_job_goes_before_all_that_wait(store: Store) -> None:
    add(store, "a", low=True)
    taken(store)
    add(store, "b")
    store.interrupt("a", until=store.now(), counts=True)
    assert taken(store) == "a"
    job = store.get("a")
    assert job is not None and job.restarts == 1


def test_a_job_waits_while_it_is_told_to(store: Store) -> None:
    add(store, "a")
    add(store, "b")
    job = store.next_for(0, without=["a"])
    assert job is not None and job.id == "b"


def test_only_so_many_jobs_may_wait(store: Store) -> None:
    for number in range(3):
        store.add(NewJob(id=str(number), input={}), 3)
    with pytest.raises(Full):
        store.add(NewJob(id="one too many", input={}), 3)
    assert store.get("one too many") is None
    taken(store)
    store.finish("0", State.FAILED, {})
    add(store, "another")
    with pytest.raises(Full):
        store.retry("0", (), 3)


def test_time_counts_while_a_job_is_worked_on_alone(store: Store, clock: Clock) -> None:
    add(store, "a", execution_s=100.0)
    clock.t += 50
    taken(store)
    clock.t += 60
    store.interrupt("a", until=clock.t, counts=False)
    clock.t += 1000
    job = store.next_for(0)
    assert job is not None and job.seconds(clock.t) == 60 and not job.took_too_long(clock.t)
    clock.t += 41
    assert job.took_too_long(clock.t)
    store.finish("a", State.COMPLETED, {})
    ended = store.get("a")
    assert ended is not None and ended.seconds(clock.t + 500) == 101
    assert ended.first_started is not None and ended.first_started - ended.created == 50


def test_a_waiting_job_that_is_called_off_has_ended(store: Store, clock: Clock) -> None:
    add(store, "a")
    job = store.call_off("a", State.CANCELLED)
    assert job is not None and job.state is State.CANCELLED and job.ended == clock.t
    assert taken(store) is None


def test_a_running_job_that_is_called_off_stays_so_and_keeps_what_came_of_it(store: Store) -> None:
    add(store, "a", has_hook=True, hook="https://example.com/x")
    taken(store)
    job = store.call_off("a", State.CANCELLED)
    assert job is not None and job.state is State.CANCELLED and job.ended is None and job.slot == 0
    assert store.due_hooks(9) == []
    store.finish("a", State.COMPLETED, {"status": "success"})
    job = store.get("a")
    assert job is not None and job.state is State.CANCELLED and job.output == {"status": "success"}
    assert [one.id for one in store.due_hooks(9)] == ["a"]


def test_what_has_ended_is_not_called_off(store: Store) -> None:
    add(store, "a")
    taken(store)
    store.finish("a", State.COMPLETED, {"status": "success"})
    job = store.call_off("a", State.CANCELLED)
    assert job is not None and job.state is State.COMPLETED
    assert not store.retry("a", (), 9)


def test_a_job_that_was_sent_again_while_it_ended_waits_on(store: Store) -> None:
    add(store, "a")
    taken(store)
    store.call_off("a", State.CANCELLED)
    assert store.retry("a", (), 9)
    assert taken(store, 1) is None, "its processes have not ended yet"
    store.finish("a", State.CANCELLED, {"status": "failed"})
    job = store.get("a")
    assert job is not None and job.state is State.IN_QUEUE and job.output is None
    assert taken(store, 1) == "a"


def test_nobody_is_told_of_a_job_whose_ttl_is_over(store: Store, clock: Clock) -> None:
    for name in ("waits", "runs", "stays"):
        add(store, name, ttl_s=None if name == "stays" else 60.0, has_hook=True, hook="https://example.com/x")
    store.next_for(0, without=["waits", "stays"])
    clock.t += 59
    assert store.expire() == []
    clock.t += 2
    assert sorted(store.expire()) == ["runs", "waits"]
    assert store.get("runs") is None and store.get("waits") is None
    assert [job.id for job in store.in_slots()] == ["runs"]
    assert taken(store, 1) == "stays"
    store.finish("runs", State.FAILED, {})
    assert store.get("runs") is None and store.due_hooks(9) == []


def test_the_queue_is_purged_and_what_runs_goes_on(store: Store) -> None:
    for name in ("runs", "a", "b"):
        add(store, name)
    taken(store)
    assert store.purge() == 2
    assert store.counts()[State.IN_PROGRESS] == 1 and store.counts()[State.CANCELLED] == 2


def test_folders_and_rows_leave_in_their_time_and_others_stay(store: Store, clock: Clock) -> None:
    for name in ("ended", "waits"):
        add(store, name)
    taken(store)
    store.finish("ended", State.FAILED, {})
    clock.t += 3600
    assert store.take_for_removal(3601) == []
    assert store.take_for_removal(3599) == ["ended"]
    assert store.take_for_removal(3599) == []
    assert store.forget() == []
    clock.t += KEEP_ROWS_SECONDS
    assert store.forget() == ["ended"]
    assert store.get("waits") is not None


def test_a_restart_finds_every_job_as_it_was(tmp_path: Path, clock: Clock) -> None:
    first = Store(tmp_path / "q", clock)
    for name in ("runs", "waits", "ended"):
        add(first, name, held=("output.huggingface.token",))
    first.next_for(0, without=["waits", "ended"])
    first.next_for(1, without=["waits"])
    first.finish("ended", State.COMPLETED, {"status": "success", "text": "ä😀"})
    first.close()
    second = Store(tmp_path / "q", clock)
    assert [job.id for job in second.in_slots()] == ["runs"]
    ended, waits = second.get("ended"), second.get("waits")
    assert ended is not None and ended.output["text"] == "ä😀"
    assert waits is not None and waits.held == ("output.huggingface.token",)
    assert second.input_of("waits") == {"name": "waits"}
    second.close()


def test_a_second_server_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musabi.serverless.queue.database.BUSY_SECONDS", 0.1)
    code = (
        "import sys, time; from pathlib import Path; from musabi.serverless.queue.store import Store;"
        "store = Store(Path(sys.argv[1])); print('open', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "q")], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"open\n"
        with pytest.raises(MachineError, match="Another musabi serve"):
            Store(tmp_path / "q")
    finally:
        other.kill()
        other.wait()
        if other.stdout:
            other.stdout.close()
    Store(tmp_path / "q").close()


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough" * 99, b"SQLite format 3\0" + b"x" * 4096]
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "q").write_bytes(content)
    with pytest.raises(MachineError, match="move the file away"):
        Store(tmp_path / "q")


def test_a_root_that_is_no_folder_is_named_with_what_sets_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"folder .*file: File exists\. .*--root or ENDPOINT_ROOT"):
        Store(tmp_path / "file" / "endpoint.sqlite3")


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    Store(tmp_path / "q").close()
    with sqlite3.connect(tmp_path / "q") as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(MachineError, match="newer version"):
        Store(tmp_path / "q")


def test_many_threads_give_every_job_to_one_slot(store: Store) -> None:
    for number in range(100):
        add(store, str(number))
    found: list[str] = []

    def take(slot: int) -> None:
        while (job := store.next_for(slot)) is not None:
            found.append(job.id)

    threads = [threading.Thread(target=take, args=(slot,)) for slot in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert sorted(found, key=int) == [str(number) for number in range(100)]


def test_a_webhook_has_three_tries(store: Store, clock: Clock) -> None:
    add(store, "a", has_hook=True, hook="https://example.com/x")
    taken(store)
    store.finish("a", State.COMPLETED, {})
    for left in (2, 1, 0):
        due = store.due_hooks(9)
        assert [job.hook_tries for job in due] == [left + 1]
        store.note_hook("a", 0, 10.0)
        assert store.due_hooks(9) == []
        clock.t += 10
    assert store.due_hooks(9) == []


def test_a_refused_request_is_a_job_that_failed(store: Store) -> None:
    store.add_refused(NewJob(id="a", input=["no", "object"]), {"status": "failed", "error": "x"})
    job = store.get("a")
    assert job is not None and job.state is State.FAILED and job.output["error"] == "x" and job.slot is None
    assert store.input_of("a") == ["no", "object"]
    store.add_refused(NewJob(id="large", input={"x": "y" * 200_000}), {"status": "failed"})
    assert store.input_of("large") is None, "such requests cost the client nothing, and the disk much"
