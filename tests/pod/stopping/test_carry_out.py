"""Carrying a stop out: retried, bounded, said loudly, once."""

import pytest

from musabi.pod.stopping.carry_out import BACKOFF_SECONDS, LATER_SECONDS, SETTLE_SECONDS, carry_out
from musabi.pod.stopping.deadline import ATTEMPTS, Announcement
from musabi.pod.stopping.keep import keep
from peers.loopback_runpod import KEY, stand_in_runpodctl

from .conftest import BEGAN, PodFolder

DUE = Announcement("stop", "idle", BEGAN, BEGAN + 120, "nobody and nothing uses it")


class Gone(BaseException):
    """The pod is gone: the stand-in clock says it in the time a pod takes to end."""


def test_a_stop_that_fails_three_times_works_the_fourth(pod: PodFolder) -> None:
    pod.runpod.fail(500, times=3)
    hands, began = pod.hands, pod.clock.time
    try:
        pod.clock.at.append((began + sum(BACKOFF_SECONDS[:3]) + 1, _gone))
        carry_out(hands, DUE)
    except Gone:
        pass
    assert len(pod.runpod.stops) == 4
    assert (
        pod.log.count("WARNING: The pod could not be stopped and is still billed. Runpod answered 500.") == 3
    )
    assert "Runpod accepted it (REST)" in pod.said[-1]


def test_a_stop_that_always_fails_is_given_up_and_said_loudly(pod: PodFolder) -> None:
    pod.runpod.fail(401)
    began = pod.clock.time
    carry_out(pod.hands, DUE)
    assert len(pod.runpod.stops) == ATTEMPTS
    assert sum(BACKOFF_SECONDS) <= 300
    assert 6 * 3600 <= pod.clock.time - began <= 6.5 * 3600
    assert pod.log.count("WARNING: The pod could not be stopped and is still billed.") == ATTEMPTS
    assert "THE POD STILL RUNS AND IS STILL BILLED" in pod.said[-1] and "console.runpod.io" in pod.said[-1]
    tried = pod.guard_file["attempts"]["idle"]
    assert tried["count"] >= ATTEMPTS and "401" in tried["given_up"]
    assert "at" not in pod.guard_file
    assert KEY not in pod.log + pod.places.guard.read_text()


def test_a_stop_that_was_accepted_but_did_not_happen_is_tried_again(pod: PodFolder) -> None:
    began = pod.clock.time
    carry_out(pod.hands, DUE)
    assert len(pod.runpod.stops) == ATTEMPTS
    assert pod.clock.time - began >= ATTEMPTS * SETTLE_SECONDS
    assert "Runpod accepted it, but the pod still runs" in pod.said[-1]


def test_attempts_of_before_a_crash_count(pod: PodFolder) -> None:
    pod.runpod.fail(500)
    pod.clock.time += 10
    for _ in range(3):
        pod.store.note_attempt("idle", pod.clock.time)
    carry_out(pod.hands, DUE)
    assert len(pod.runpod.stops) == ATTEMPTS - 3


def test_the_deadline_is_cleared_before_the_stop_is_asked_for(pod: PodFolder) -> None:
    pod.store.announce(DUE)
    assert pod.guard_file["at"] == DUE.at
    seen = []
    carry_out(pod.hands, DUE, lambda: seen.append("at" in pod.guard_file))
    assert seen == [False] * ATTEMPTS


def test_keep_ends_the_retries(pod: PodFolder) -> None:
    pod.runpod.fail(500)
    pod.clock.at.append((pod.clock.time + 20, lambda: _keep(pod)))
    carry_out(pod.hands, DUE)
    assert len(pod.runpod.stops) == 2
    assert pod.said[-1] == "The pod is not stopped: somebody asked to keep the pod."


def test_an_outage_of_hours_is_outlived(pod: PodFolder) -> None:
    pod.runpod.fail(500, times=12)
    hands, began = pod.hands, pod.clock.time
    pod.clock.at.append((began + sum(BACKOFF_SECONDS) + 8 * LATER_SECONDS + 1, _gone))
    with pytest.raises(Gone):
        carry_out(hands, DUE)
    assert len(pod.runpod.stops) == 13
    assert "Runpod accepted it (REST)" in pod.said[-1]


def test_what_is_no_longer_wanted_is_not_tried_again(pod: PodFolder) -> None:
    pod.runpod.fail(500)
    reasons = iter([None, None, None, "the pod is used again"])
    carry_out(pod.hands, DUE, unwanted=lambda: next(reasons))
    assert len(pod.runpod.stops) == 1
    assert pod.said[-1] == "The pod is not stopped: the pod is used again."


def test_while_one_process_stops_the_pod_no_other_does(pod: PodFolder) -> None:
    with pod.store.the_one_who_stops() as mine:
        assert mine
        carry_out(pod.hands, DUE)
    assert pod.runpod.stops == []


def test_what_runpodctl_prints_of_the_pod_is_not_repeated(pod: PodFolder) -> None:
    stand_in_runpodctl(pod.root / "bin", "new")
    carry_out(pod.hands, DUE)
    assert "hf_secretofthepod" not in pod.log


def _gone() -> None:
    raise Gone


def _keep(pod: PodFolder) -> None:
    keep(pod.settings, None, store=pod.store, now=pod.clock.time)
