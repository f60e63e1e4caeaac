"""ON_FINISH and ON_ERROR: at the end of a run, in the run's own process."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from musabi.job.publishing import mark_published, mark_unpublished
from musabi.job.queue import Queue, folder_of
from musabi.job.record import RunState, process_start
from musabi.pod.stopping import ended_by_hand, finish
from musabi.pod.stopping.carry_out import Hands
from musabi.pod.stopping.container import container_mark
from musabi.pod.stopping.deadline import Announcement
from musabi.pod.stopping.keep import keep
from peers.loopback_runpod import KEY

from .conftest import BEGAN, NO_TERMINALS, PodFolder, end_processes, start_guard, wait_for


@pytest.fixture(autouse=True)
def own_signals() -> object:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def end(pod: PodFolder, outcome: str, hands: Hands | None = None, since: float | None = None) -> None:
    say, hands = pod.said.append, hands or pod.hands
    finish(pod.settings, pod.environ, outcome, say, since=since, hands=hands)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcome", "variable", "action", "method"),
    [
        ("done", "ON_FINISH", "stop", "POST"),
        ("done", "ON_FINISH", "delete", "DELETE"),
        ("failed", "ON_ERROR", "stop", "POST"),
        ("failed", "ON_ERROR", "delete", "DELETE"),
    ],
)
def test_the_end_of_a_run_ends_the_pod(
    pod: PodFolder, outcome: str, variable: str, action: str, method: str
) -> None:
    pod.environ[variable] = action
    end(pod, outcome)
    assert pod.runpod.stops[0][0] == method
    assert pod.clock.time >= BEGAN + 120
    assert f"will be {'stopped' if action == 'stop' else 'deleted'} in 2 min" in pod.said[0]
    assert variable in pod.said[0] and "musabi pod keep" in pod.said[0]


@pytest.mark.parametrize(("outcome", "variable"), [("done", "ON_ERROR"), ("failed", "ON_FINISH")])
def test_the_other_variable_does_nothing(pod: PodFolder, outcome: str, variable: str) -> None:
    pod.environ[variable] = "delete"
    end(pod, outcome)
    assert pod.runpod.asked == [] and pod.said == [] and not pod.places.guard.exists()


def test_keep_in_the_countdown_keeps_the_pod(pod: PodFolder) -> None:
    pod.environ["ON_FINISH"] = "delete"
    pod.clock.at.append((BEGAN + 60, lambda: _keep(pod)))
    end(pod, "done")
    assert pod.runpod.asked == []
    assert pod.said[-1] == "The pod is not deleted: somebody asked to keep the pod."
    assert "at" not in pod.guard_file


def test_a_run_that_is_started_in_the_countdown_keeps_the_pod(pod: PodFolder) -> None:
    pod.environ["ON_FINISH"] = "stop"
    pod.add_run(RunState.DONE)
    with subprocess.Popen(["sleep", "60"]) as other:
        pod.clock.at.append((BEGAN + 60, lambda: pod.add_run(pid=other.pid) and None))
        end(pod, "done")
        other.kill()
    assert pod.runpod.asked == []
    assert "another run was started" in pod.said[-1]


def test_a_run_that_ends_while_another_goes_on_leaves_the_pod_to_that_ones_end(pod: PodFolder) -> None:
    pod.environ["ON_FINISH"] = "stop"
    with subprocess.Popen(["sleep", "60"]) as other:
        going = pod.add_run(pid=other.pid)
        end(pod, "done")
        assert pod.said == [f"The pod is not stopped yet: {going.path.name} goes on."]
        assert "at" not in pod.guard_file
        other.kill()
    end(pod, "done")
    assert pod.runpod.stops[0][0] == "POST"


@pytest.mark.parametrize("outcome", ["done", "failed"])
def test_the_last_run_does_what_an_earlier_end_asked_for_where_its_own_asks_nothing(
    pod: PodFolder, outcome: str
) -> None:
    pod.environ["ON_FINISH"] = "delete"
    with subprocess.Popen(["sleep", "60"]) as other:
        pod.add_run(pid=other.pid)
        end(pod, "done")
        other.kill()
    pod.environ["ON_FINISH"] = "none"
    end(pod, outcome)
    assert pod.runpod.stops[0][0] == "DELETE" and pod.guard_file["left"] is None


def test_what_an_earlier_end_asked_for_is_not_done_after_a_run_that_a_person_stopped(pod: PodFolder) -> None:
    pod.mark = container_mark()
    pod.environ["ON_FINISH"] = "stop"
    with subprocess.Popen(["sleep", "60"]) as other:
        pod.add_run(pid=other.pid)
        end(pod, "done")
        ended_by_hand(pod.settings)
        assert pod.guard_file["left"] is not None  # another run goes on still
        other.kill()
    ended_by_hand(pod.settings)
    assert pod.guard_file["left"] is None


@pytest.mark.parametrize("late", [False, True])
def test_a_pod_is_not_deleted_while_a_run_of_it_could_not_be_published(pod: PodFolder, late: bool) -> None:
    pod.environ["ON_FINISH"] = "delete"
    earlier = pod.add_run(RunState.DONE)
    if late:
        pod.clock.at.append((BEGAN + 60, lambda: mark_unpublished(earlier)))
    else:
        mark_unpublished(earlier)
    end(pod, "done")
    assert pod.runpod.stops[0][0] == "POST"
    assert f"publishing {earlier.path.name} failed" in pod.log


def test_a_run_that_is_published_after_all_may_be_deleted_with_the_pod(pod: PodFolder) -> None:
    pod.environ["ON_FINISH"] = "delete"
    earlier = pod.add_run(RunState.DONE)
    mark_unpublished(earlier)
    mark_published(earlier)
    end(pod, "done")
    assert pod.runpod.stops[0][0] == "DELETE"


def test_the_queue_ends_the_pod_while_it_is_still_the_queue(pod: PodFolder) -> None:
    pod.environ["ON_FINISH"] = "stop"
    with Queue(folder_of(pod.settings.space)).carried_out():
        finish(pod.settings, pod.environ, "done", pod.said.append, hands=pod.hands, of_queue=True)
    assert pod.runpod.stops[0][0] == "POST"


def test_a_job_that_is_added_in_the_countdown_of_the_queue_keeps_the_pod(pod: PodFolder) -> None:
    pod.environ["ON_FINISH"] = "stop"
    queue = Queue(folder_of(pod.settings.space))
    pod.clock.at.append((BEGAN + 60, lambda: queue.add("more", Path("job.toml"), "") and None))
    with queue.carried_out():
        finish(pod.settings, pod.environ, "done", pod.said.append, hands=pod.hands, of_queue=True)
    assert pod.runpod.asked == [] and "job 1 of the queue" in pod.said[-1]


def test_the_queue_keeps_the_pod_until_it_is_through(pod: PodFolder) -> None:
    pod.environ["ON_FINISH"] = "stop"
    with Queue(folder_of(pod.settings.space)).carried_out():
        end(pod, "done")
    assert pod.runpod.asked == [] and "musabi queue run goes on" in pod.log
    end(pod, "done")
    assert pod.runpod.stops[0][0] == "POST"


def test_a_run_that_ended_first_waits_until_the_other_is_published(pod: PodFolder) -> None:
    pod.environ["ON_FINISH"] = "stop"
    with subprocess.Popen(["sleep", "60"]) as other:
        publishing = pod.add_run(RunState.DONE, pid=other.pid)
        publishing.after_file.touch()
        early: list[int] = []
        pod.clock.at.append((BEGAN + 499, lambda: early.append(len(pod.said))))
        pod.clock.at.append((BEGAN + 500, publishing.after_file.unlink))
        end(pod, "done")
        other.kill()
    assert early == [0] and pod.runpod.stops[0][0] == "POST"


def test_a_run_whose_end_a_full_disk_kept_out_of_its_record_is_no_other_run(pod: PodFolder) -> None:
    pod.environ["ON_FINISH"] = "stop"
    pod.add_run()
    end(pod, "done")
    assert pod.runpod.stops[0][0] == "POST"


@pytest.mark.parametrize(("outcome", "variable"), [("done", "ON_FINISH"), ("failed", "ON_ERROR")])
def test_keep_while_the_run_goes_on_keeps_the_pod_at_its_end(
    pod: PodFolder, outcome: str, variable: str
) -> None:
    pod.environ[variable] = "delete"
    keep(pod.settings, None, store=pod.store, now=BEGAN - 100)
    end(pod, outcome, since=BEGAN - 3600)
    assert pod.runpod.asked == []
    assert pod.said == ["The pod is not deleted: somebody asked to keep the pod."]


def test_keep_of_before_the_run_counts_for_its_hours_alone(pod: PodFolder) -> None:
    pod.environ["ON_FINISH"] = "stop"
    keep(pod.settings, 2, store=pod.store, now=BEGAN - 7100)
    end(pod, "done", since=BEGAN - 3600)
    assert pod.runpod.asked == []
    pod.clock.time += 200
    end(pod, "done", since=BEGAN - 3600)
    assert pod.runpod.stops[0][0] == "POST"


def test_another_run_ends_the_attempts_of_a_stop_that_is_refused(pod: PodFolder) -> None:
    pod.environ["ON_FINISH"] = "delete"
    pod.runpod.fail(500)
    with subprocess.Popen(["sleep", "60"]) as other:
        pod.clock.at.append((BEGAN + 2000, lambda: pod.add_run(pid=other.pid) and None))
        end(pod, "done")
        other.kill()
    assert 5 < len(pod.runpod.stops) < 10
    assert "another run was started" in pod.said[-1]


def test_an_announced_stop_of_another_process_goes_first(pod: PodFolder) -> None:
    pod.environ["ON_FINISH"] = "delete"
    with subprocess.Popen(["sleep", "60"]) as other:
        first = Announcement("stop", "max_hours", BEGAN, BEGAN + 50, "", other.pid, process_start(other.pid))
        pod.store.change(lambda old: replace(old, announcement=first))
        pod.clock.at.append((BEGAN + 40, lambda: _keep(pod)))
        end(pod, "done")
        assert pod.runpod.asked == []
        assert pod.guard_file["cause"] == "max_hours"
        other.kill()


def test_elsewhere_than_in_a_pod_it_says_so(pod: PodFolder) -> None:
    hands = pod.hands
    pod.environ["ON_FINISH"] = "stop"
    pod.environ.pop("RUNPOD_POD_ID")
    end(pod, "done", hands)
    assert pod.said == [
        "ON_FINISH=stop does nothing here. This is not a Runpod pod: RUNPOD_POD_ID is not set."
    ]


@pytest.mark.parametrize("broken", ["state", "record"])
def test_a_disk_that_fails_does_not_keep_the_pod_running(pod: PodFolder, broken: str) -> None:
    pod.environ["ON_FINISH"] = "stop"
    if broken == "state":  # nothing can be written beneath it
        pod.places.root.parent.mkdir(parents=True)
        pod.places.root.write_text("")
    else:
        pod.add_run().record_file.write_text('{"state": "no such state"}')
    end(pod, "done")
    assert pod.runpod.stops[0][0] == "POST"


def test_nothing_is_raised_and_no_secret_said_where_something_breaks(pod: PodFolder) -> None:
    def broken() -> float:
        raise RuntimeError(f"it broke with {KEY}")

    pod.environ["ON_FINISH"] = "stop"
    end(pod, "done", replace(pod.hands, now=broken))
    assert pod.said == ["WARNING: ON_FINISH=stop was not done: RuntimeError: it broke with ***."]


RUN_ENDS = """
import os, signal
signal.signal(signal.SIGTERM, lambda *_: None)  # as the runner does, which saves then
from musabi.pod.stopping import finish
from musabi.settings import load
finish(load(os.environ), os.environ, "done", lambda text: print(text, flush=True))
"""


def ending(pod: PodFolder, out: Path) -> "subprocess.Popen[bytes]":
    """Start a process that does what a run's process does at its end."""
    return subprocess.Popen(
        [sys.executable, "-c", f"{NO_TERMINALS}\n{RUN_ENDS}"],
        env=pod.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=out.open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def test_two_causes_at_once_stop_the_pod_once(pod: PodFolder) -> None:
    pod.environ |= {"ON_FINISH": "stop", "MAX_HOURS": "0.000001", "STOP_COUNTDOWN": "2"}
    run = ending(pod, pod.root / "run.log")
    guard = start_guard(pod)
    try:
        wait_for(lambda: pod.runpod.stops)
        before = len(pod.runpod.stops)
        with pytest.raises(subprocess.TimeoutExpired):
            guard.wait(timeout=8)
        assert before == len(pod.runpod.stops) == 1
    finally:
        end_processes(run, guard)


def test_sigterm_ends_the_countdown_at_once(pod: PodFolder) -> None:
    pod.environ |= {"ON_FINISH": "stop", "STOP_COUNTDOWN": "60"}
    run = ending(pod, pod.root / "run.log")
    try:
        wait_for(lambda: pod.places.guard.exists() and "at" in pod.guard_file)
        run.terminate()
        assert run.wait(timeout=5) == -signal.SIGTERM
        assert pod.runpod.asked == []
    finally:
        end_processes(run)


def _keep(pod: PodFolder) -> None:
    keep(pod.settings, None, store=pod.store, now=pod.clock.time)
