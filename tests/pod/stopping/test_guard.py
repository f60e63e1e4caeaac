"""The guard: each cause, the countdown, keep, a second container, a run that is ended first."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from musabi.job.publishing import mark_unpublished
from musabi.job.record import RunFolder, RunState, process_start
from musabi.pod.aside import Aside
from musabi.pod.stopping.activity import Use
from musabi.pod.stopping.container import container_mark, container_started
from musabi.pod.stopping.deadline import ATTEMPTS, Announcement, Left, Rules
from musabi.pod.stopping.guard import TICK_SECONDS, Guard
from musabi.pod.stopping.keep import keep, keep_words
from musabi.pod.stopping.status import status_words, stopping_status
from musabi.pod.stopping.store import Store

from .conftest import BEGAN, PodFolder

HOUR = 3600.0


class Looks:
    """What the guard sees: nothing, but at the moments given."""

    def __init__(self) -> None:
        self.use: Use | None = None

    def __call__(self) -> Use | None:
        return self.use


@pytest.fixture
def looks() -> Looks:
    return Looks()


def make_guard(pod: PodFolder, looks: Looks) -> Guard:
    return Guard(pod.hands, Rules.of(pod.settings), pod.settings, looks)


def watch(pod: PodFolder, guard: Guard, until: float) -> None:
    """Let the guard tick until that moment, or until the pod was asked to stop."""
    while pod.clock.time < until and not pod.runpod.stops:
        guard.tick()
        pod.clock.sleep(TICK_SECONDS)


def test_max_hours_is_announced_and_carried_out(pod: PodFolder, looks: Looks) -> None:
    pod.environ |= {"MAX_HOURS": "2", "STOP_COUNTDOWN": "120"}
    guard = make_guard(pod, looks)
    watch(pod, guard, BEGAN + 2 * HOUR - 125)
    assert pod.said == []
    watch(pod, guard, BEGAN + 2 * HOUR - 60)
    said = pod.guard_file
    assert (said["action"], said["cause"], said["at"]) == ("stop", "max_hours", BEGAN + 2 * HOUR)
    assert BEGAN + 2 * HOUR - 125 <= said["announced"] <= BEGAN + 2 * HOUR - 117
    assert "This pod will be stopped in 2 min" in pod.said[0] and "musabi pod keep" in pod.said[0]
    watch(pod, guard, BEGAN + 3 * HOUR)
    assert pod.clock.time >= BEGAN + 2 * HOUR
    assert pod.runpod.stops[0][0] == "POST"
    assert any("in 60 s" in line or "in 59 s" in line or "in 58 s" in line for line in pod.said)


def test_a_pod_that_nobody_uses_is_stopped(pod: PodFolder, looks: Looks) -> None:
    pod.environ |= {"IDLE_MINUTES": "30", "STOP_COUNTDOWN": "60"}
    guard = make_guard(pod, looks)
    looks.use = Use(BEGAN + 600, "somebody typed at a terminal")
    watch(pod, guard, BEGAN + 600 + 1800 - 70)
    assert pod.said == []
    watch(pod, guard, BEGAN + 600 + 1800 + 60)
    assert len(pod.runpod.stops) >= 1
    assert "nobody and nothing uses it (IDLE_MINUTES=30)" in pod.said[0]


def test_a_pod_that_is_used_is_not_stopped_for_idleness(pod: PodFolder, looks: Looks) -> None:
    pod.environ["IDLE_MINUTES"] = "1"
    guard = make_guard(pod, looks)
    while pod.clock.time < BEGAN + 600:
        looks.use = Use(pod.clock.time, "lora-1 is running")
        guard.tick()
        pod.clock.sleep(TICK_SECONDS)
    assert pod.said == [] and pod.runpod.stops == []
    assert pod.guard_file["doing"] == "lora-1 is running"


def test_a_visitor_in_the_countdown_calls_an_idle_stop_off(pod: PodFolder, looks: Looks) -> None:
    pod.environ |= {"IDLE_MINUTES": "5", "STOP_COUNTDOWN": "120"}
    guard = make_guard(pod, looks)
    watch(pod, guard, BEGAN + 230)
    assert "at" in pod.guard_file
    looks.use = Use(BEGAN + 229, "somebody typed at a terminal")
    watch(pod, guard, BEGAN + 320)
    assert "The pod is not stopped: the pod is used again: somebody typed at a terminal." in pod.said
    assert "at" not in pod.guard_file and pod.runpod.stops == []


def test_keep_in_the_countdown_of_max_hours_gives_another_hour(pod: PodFolder, looks: Looks) -> None:
    pod.environ |= {"MAX_HOURS": "1", "STOP_COUNTDOWN": "120"}
    guard = make_guard(pod, looks)
    watch(pod, guard, BEGAN + HOUR - 60)
    kept = keep(pod.settings, None, store=pod.store, now=pod.clock.time)
    assert keep_words(kept)[0] == "The pod is kept: it is not stopped for MAX_HOURS."
    watch(pod, guard, BEGAN + 2 * HOUR - 130)
    assert pod.runpod.stops == []
    watch(pod, guard, BEGAN + 2 * HOUR + 10)
    assert len(pod.runpod.stops) >= 1


def test_a_deadline_of_another_container_is_not_believed(pod: PodFolder, looks: Looks) -> None:
    pod.environ |= {"MAX_HOURS": "1"}
    watch(pod, make_guard(pod, looks), BEGAN + HOUR - 30)
    keep(pod.settings, 5, store=pod.store, now=pod.clock.time)
    assert "at" in pod.guard_file
    resumed = PodFolder(pod.root, pod.runpod, pod.environ, pod.clock, mark="container two")
    resumed_store = Store(resumed.places, mark="container two", started=BEGAN + HOUR)
    assert resumed_store.standing().announcement is None
    assert resumed_store.standing().started == BEGAN + HOUR
    assert resumed_store.keep().extra_s == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"container": "container one", "at": "soon"}', "\0"])
def test_a_broken_file_is_no_deadline(pod: PodFolder, text: str) -> None:
    pod.places.root.mkdir(parents=True)
    pod.places.guard.write_text(text)
    pod.places.keep.write_text(text)
    assert pod.store.standing().announcement is None
    assert pod.store.keep().asked == 0


def test_a_stop_that_was_given_up_does_not_loop(pod: PodFolder, looks: Looks) -> None:
    pod.environ |= {"MAX_HOURS": "1", "IDLE_MINUTES": "600"}
    pod.runpod.fail(500)
    guard = make_guard(pod, looks)
    while pod.clock.time < BEGAN + 8 * HOUR:
        guard.tick()
        pod.clock.sleep(60)
    assert len(pod.runpod.stops) == ATTEMPTS
    guard = make_guard(pod, looks)
    while pod.clock.time < BEGAN + 10 * HOUR - 600:
        guard.tick()
        pod.clock.sleep(60)
    assert len(pod.runpod.stops) == ATTEMPTS
    values = stopping_status(pod.settings, store=pod.store, now=pod.clock.time)
    assert "not tried again" in "\n".join(status_words(values, pod.clock.time))


def test_a_new_guard_goes_on_with_the_countdown_of_the_last(pod: PodFolder, looks: Looks) -> None:
    pod.environ |= {"MAX_HOURS": "1", "STOP_COUNTDOWN": "120"}
    watch(pod, make_guard(pod, looks), BEGAN + HOUR - 60)
    before = pod.guard_file["at"]
    watch(pod, make_guard(pod, looks), BEGAN + HOUR - 30)
    assert pod.guard_file["at"] == before
    watch(pod, make_guard(pod, looks), BEGAN + HOUR + 10)
    assert len(pod.runpod.stops) >= 1
    assert len([line for line in pod.said if "This pod will be stopped in 2 min" in line]) == 1


def test_a_countdown_whose_process_is_gone_is_taken_over(pod: PodFolder, looks: Looks) -> None:
    pod.environ["ON_FINISH"] = "delete"
    gone = Announcement("delete", "on_finish", BEGAN, BEGAN + 60, "the run is done", 2**22 + 1, 5.0)
    pod.store.change(lambda old: replace(old, announcement=gone))
    watch(pod, make_guard(pod, looks), BEGAN + 120)
    assert pod.runpod.stops[0][0] == "DELETE"


def test_a_countdown_of_a_living_process_is_left_to_it(pod: PodFolder, looks: Looks) -> None:
    pod.environ["MAX_HOURS"] = "0.01"
    with subprocess.Popen(["sleep", "60"]) as other:
        theirs = Announcement(
            "delete", "on_finish", BEGAN, BEGAN + 60, "", other.pid, process_start(other.pid)
        )
        pod.store.change(lambda old: replace(old, announcement=theirs))
        watch(pod, make_guard(pod, looks), BEGAN + 120)
        other.kill()
    assert pod.said == [] and pod.runpod.stops == []
    assert pod.store.standing().announcement == theirs


def test_a_run_is_ended_and_published_before_the_deadline_stops_the_pod(pod: PodFolder, looks: Looks) -> None:
    pod.environ |= {"MAX_HOURS": "1", "STOP_COUNTDOWN": "30"}
    run = pod.add_run()
    order: list[str] = []

    def end_the_run() -> None:
        assert run.stop_file.exists() and not pod.runpod.stops
        record = run.load()
        record.state, record.message = RunState.STOPPED, "Stopped at step 5 of 9."
        run.save(record)
        order.append("ended")

    def publish(folder: RunFolder | None) -> None:
        assert folder is not None and folder.path == run.path and not pod.runpod.stops
        order.append("published")

    guard = make_guard(pod, looks)
    guard.before_stop = publish
    pod.clock.at.append((BEGAN + HOUR + 5, end_the_run))
    watch(pod, guard, BEGAN + HOUR + 60)
    assert order == ["ended", "published"]
    assert "Stopped at step 5 of 9." in pod.said
    assert len(pod.runpod.stops) >= 1


def test_all_runs_that_go_on_are_ended_and_published_before_the_deadline(
    pod: PodFolder, looks: Looks
) -> None:
    pod.environ |= {"MAX_HOURS": "1", "STOP_COUNTDOWN": "30"}
    going = [pod.add_run(), pod.add_run()]
    published: list[str] = []
    asked: list[bool] = []

    def end_the_runs() -> None:
        asked.append(all(run.stop_file.exists() for run in going))
        for run in going:
            run.save(run.load().model_copy(update={"state": RunState.STOPPED}))

    guard = make_guard(pod, looks)
    guard.before_stop = lambda folder: published.append(folder.path.name if folder else "none")
    pod.clock.at.append((BEGAN + HOUR + 5, end_the_runs))
    watch(pod, guard, BEGAN + HOUR + 60)
    assert asked == [True]  # so that both save at the same time
    assert sorted(published[:2]) == sorted(run.path.name for run in going)
    assert len(pod.runpod.stops) >= 1


def test_a_hook_that_fails_does_not_keep_the_pod(pod: PodFolder, looks: Looks) -> None:
    def broken(_folder: RunFolder | None) -> None:
        raise RuntimeError("no such bucket")

    pod.environ["MAX_HOURS"] = "1"
    guard = make_guard(pod, looks)
    guard.before_stop = broken
    watch(pod, guard, BEGAN + HOUR + 60)
    assert len(pod.runpod.stops) >= 1 and "no such bucket" in pod.log


def test_a_run_whose_record_breaks_while_it_ends_does_not_keep_the_pod(pod: PodFolder, looks: Looks) -> None:
    pod.environ["MAX_HOURS"] = "1"
    run = pod.add_run()
    pod.clock.at.append((BEGAN + HOUR + 4, lambda: run.record_file.write_text("{") and None))
    watch(pod, make_guard(pod, looks), BEGAN + HOUR + 120)
    assert len(pod.runpod.stops) >= 1 and "WARNING: Before the stop" in pod.log


@pytest.fixture
def hung_volume(pod: PodFolder) -> Iterator[None]:
    """A run whose record is a pipe that nobody writes to: reading it hangs, as on a network volume that is gone."""
    folder = pod.settings.space.runs / "lora-hung"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "record.json")
    yield
    pipe = os.open(folder / "record.json", os.O_RDWR | os.O_NONBLOCK)  # lets the readers go on
    os.close(pipe)


@pytest.mark.usefixtures("hung_volume")
def test_a_volume_that_hangs_does_not_keep_the_pod_beyond_max_hours(pod: PodFolder, looks: Looks) -> None:
    pod.environ["MAX_HOURS"] = "1"
    guard = make_guard(pod, looks)
    guard.aside = Aside(0.2)
    began = time.monotonic()
    watch(pod, guard, BEGAN + HOUR + 10)
    assert len(pod.runpod.stops) >= 1 and time.monotonic() - began < 20
    assert "the volume did" in pod.log


@pytest.mark.usefixtures("hung_volume")
def test_a_volume_that_hangs_does_not_keep_the_pod_after_a_run(pod: PodFolder, looks: Looks) -> None:
    gone = Announcement("stop", "on_finish", BEGAN, BEGAN + 60, "the run is done", 2**22 + 1, 5.0)
    pod.store.change(lambda old: replace(old, announcement=gone))
    guard = make_guard(pod, looks)
    guard.aside = Aside(0.2)
    watch(pod, guard, BEGAN + 120)
    assert len(pod.runpod.stops) >= 1


def test_use_of_the_pod_ends_the_attempts_of_a_stop_for_idleness(pod: PodFolder, looks: Looks) -> None:
    pod.environ |= {"IDLE_MINUTES": "30"}
    pod.runpod.fail(500)
    guard = make_guard(pod, looks)

    def visit() -> None:
        looks.use = Use(pod.clock.time, "somebody typed at a terminal")

    pod.clock.at.append((BEGAN + 5000, visit))
    watch(pod, guard, BEGAN + 1800)
    guard.tick()
    assert 5 <= len(pod.runpod.stops) < 12
    assert "the pod is used again: somebody typed at a terminal" in pod.said[-1]


def test_a_full_disk_does_not_keep_the_pod(pod: PodFolder, looks: Looks) -> None:
    pod.environ["MAX_HOURS"] = "1"
    pod.places.root.parent.mkdir(parents=True)
    pod.places.root.write_text("nothing can be written beneath this")
    guard = make_guard(pod, looks)
    watch(pod, guard, BEGAN + HOUR - 30)
    assert len([line for line in pod.said if "This pod will be stopped in" in line]) == 2
    watch(pod, guard, BEGAN + HOUR + 10)
    assert len(pod.runpod.stops) >= 1


def test_a_guard_that_starts_while_somebody_asks_for_one_is_not_refused(pod: PodFolder) -> None:
    asking = threading.Event()

    def ask_all_the_time() -> None:
        while not asking.is_set():
            pod.store.is_watched()

    thread = threading.Thread(target=ask_all_the_time)
    thread.start()
    try:
        for _ in range(50):
            with pod.store.the_one_who_watches() as mine:
                assert mine and pod.store.is_watched()
    finally:
        asking.set()
        thread.join(timeout=5)


def test_only_its_owner_reads_the_files(pod: PodFolder, looks: Looks) -> None:
    pod.environ["IDLE_MINUTES"] = "5"
    watch(pod, make_guard(pod, looks), BEGAN + 400)
    keep(pod.settings, None, store=pod.store, now=pod.clock.time)
    assert pod.places.root.stat().st_mode & 0o077 == 0
    for path in (pod.places.guard, pod.places.keep):
        assert path.stat().st_mode & 0o077 == 0


def test_this_container_has_a_mark_and_a_start() -> None:
    assert container_mark() == container_mark()
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert 0 <= time.time() - container_started() <= uptime + 1


def test_what_a_run_asked_for_is_done_when_the_last_one_is_gone_without_a_word(
    pod: PodFolder, looks: Looks
) -> None:
    guard = make_guard(pod, looks)
    pod.store.leave(Left("delete", "on_finish", BEGAN - 10))
    with subprocess.Popen(["sleep", "60"]) as other:
        pod.add_run(pid=other.pid)
        watch(pod, guard, BEGAN + HOUR)
        assert pod.said == []
        other.kill()
    watch(pod, guard, BEGAN + 2 * HOUR)
    assert pod.runpod.stops[0][0] == "DELETE" and "ON_FINISH" in pod.said[0]


def test_who_asked_to_keep_the_pod_meant_what_was_left_too(pod: PodFolder, looks: Looks) -> None:
    pod.store.leave(Left("stop", "on_finish", BEGAN - 10))
    keep(pod.settings, None, store=pod.store, now=BEGAN - 5)
    watch(pod, make_guard(pod, looks), BEGAN + HOUR)
    assert pod.runpod.asked == [] and pod.guard_file["left"] is None


def test_the_guard_does_not_delete_what_could_not_be_published(pod: PodFolder, looks: Looks) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        mark_unpublished(pod.add_run(RunState.DONE, pid=other.pid))
        other.kill()
    with subprocess.Popen(["true"]) as gone:
        started = process_start(gone.pid)
    orphan = Announcement("delete", "on_error", BEGAN, BEGAN + 30, "", gone.pid, started or 1.0)
    pod.store.change(lambda old: replace(old, announcement=orphan))
    watch(pod, make_guard(pod, looks), BEGAN + HOUR)
    assert pod.runpod.stops[0][0] == "POST"
