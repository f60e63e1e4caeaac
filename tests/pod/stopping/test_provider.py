"""Asking Runpod: by runpodctl in its versions, by REST, and what is said where it fails."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from musabi.errors import RequestError
from musabi.pod.stopping.deadline import Action
from musabi.pod.stopping.provider import PodFacts, ask_facts, ask_runpod, this_pod
from peers.loopback_runpod import KEY, POD, stand_in_runpodctl

from .conftest import PodFolder, wait_for


@pytest.mark.parametrize(("action", "words"), [("stop", f"pod stop {POD}"), ("delete", f"pod delete {POD}")])
def test_runpodctl_is_asked_in_its_current_words(pod: PodFolder, action: Action, words: str) -> None:
    calls = stand_in_runpodctl(pod.root / "bin", "new")
    assert ask_runpod(this_pod(pod.settings, pod.environ), action).accepted
    assert calls.read_text().splitlines() == [words]
    assert pod.runpod.asked == []


@pytest.mark.parametrize(("action", "words"), [("stop", f"stop pod {POD}"), ("delete", f"remove pod {POD}")])
def test_an_old_runpodctl_is_asked_in_its_own_words(pod: PodFolder, action: Action, words: str) -> None:
    calls = stand_in_runpodctl(pod.root / "bin", "old")
    answer = ask_runpod(this_pod(pod.settings, pod.environ), action)
    assert (answer.accepted, answer.way) == (True, "runpodctl")
    assert calls.read_text().splitlines()[-1] == words


@pytest.mark.parametrize(
    ("action", "request_"), [("stop", ("POST", f"/pods/{POD}/stop")), ("delete", ("DELETE", f"/pods/{POD}"))]
)
def test_without_runpodctl_the_rest_interface_is_asked(
    pod: PodFolder, action: Action, request_: tuple[str, str]
) -> None:
    answer = ask_runpod(this_pod(pod.settings, pod.environ), action)
    assert (answer.accepted, answer.way) == (True, "REST")
    assert pod.runpod.asked == [request_]


def test_a_runpodctl_that_fails_is_followed_by_the_rest_interface(pod: PodFolder) -> None:
    stand_in_runpodctl(pod.root / "bin", "failing")
    assert ask_runpod(this_pod(pod.settings, pod.environ), "stop").way == "REST"
    assert len(pod.runpod.stops) == 1


@pytest.mark.parametrize("kind", ["failing", "half-failing"])
def test_a_failure_of_runpodctl_is_said_without_the_key(pod: PodFolder, kind: str) -> None:
    stand_in_runpodctl(pod.root / "bin", kind)
    pod.runpod.fail(500)
    answer = ask_runpod(this_pod(pod.settings, pod.environ), "stop")
    assert not answer.accepted
    assert "runpodctl failed: " in answer.message and "Runpod answered 500" in answer.message
    assert KEY not in answer.message
    assert ("status is RUNNING" in answer.message) == (kind == "half-failing")


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_a_refusal_is_said_in_words(pod: PodFolder, status: int) -> None:
    pod.runpod.fail(status)
    answer = ask_runpod(this_pod(pod.settings, pod.environ), "stop")
    assert not answer.accepted and str(status) in answer.message
    assert KEY not in answer.message


def test_a_wrong_key_is_not_shown_and_not_taken(pod: PodFolder) -> None:
    pod.environ["RUNPOD_API_KEY"] = "rpa_anotherkey1234\nwith a second line"
    answer = ask_runpod(this_pod(pod.settings, pod.environ), "stop")
    assert not answer.accepted and "anotherkey" not in answer.message
    pod.environ["RUNPOD_API_KEY"] = "rpa_anotherkey1234"
    answer = ask_runpod(this_pod(pod.settings, pod.environ), "stop")
    assert "401" in answer.message and pod.runpod.refused == 1 and pod.runpod.stops == []


def test_an_interface_that_does_not_answer_is_left_after_a_while(pod: PodFolder) -> None:
    pod.runpod.delay_s = 30
    began = time.monotonic()
    answer = ask_runpod(replace(this_pod(pod.settings, pod.environ), rest_s=0.5), "stop")
    assert not answer.accepted and "can't be reached" in answer.message
    assert time.monotonic() - began < 10


def test_a_runpodctl_that_hangs_is_ended(pod: PodFolder) -> None:
    stand_in_runpodctl(pod.root / "bin", "slow")
    pod.environ.pop("RUNPOD_API_KEY")
    answer = ask_runpod(replace(this_pod(pod.settings, pod.environ), runpodctl_s=0.5), "stop")
    assert not answer.accepted and "longer than" in answer.message


def test_the_key_is_on_no_command_line_while_runpodctl_runs(pod: PodFolder) -> None:
    calls = stand_in_runpodctl(pod.root / "bin", "slow")
    asking = replace(this_pod(pod.settings, pod.environ), runpodctl_s=3)
    thread = threading.Thread(target=ask_runpod, args=(asking, "stop"))
    thread.start()
    try:
        wait_for(calls.exists)
        lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.parent.exists()]
        assert any(POD.encode() in line and b"runpodctl" in line for line in lines)
        assert not any(KEY.encode() in line for line in lines)
    finally:
        thread.join(timeout=20)


def test_without_a_way_it_is_said(pod: PodFolder) -> None:
    pod.environ.pop("RUNPOD_API_KEY")
    asked = this_pod(pod.settings, pod.environ)
    assert not asked.can_be_stopped
    assert "neither runpodctl nor RUNPOD_API_KEY" in ask_runpod(asked, "stop").message


def test_another_machine_is_no_pod(pod: PodFolder) -> None:
    pod.environ.pop("RUNPOD_POD_ID")
    with pytest.raises(RequestError, match="not a Runpod pod"):
        this_pod(pod.settings, pod.environ)


def test_what_runpod_says_of_the_pod_is_read(pod: PodFolder) -> None:
    pod.runpod.facts["networkVolume"] = {"id": "v", "name": "mine", "size": 100, "dataCenterId": "EU-RO-1"}
    facts = ask_facts(this_pod(pod.settings, pod.environ))
    assert facts == PodFacts(0.69, 1720811680.144, 20, 100, "RUNNING")
    pod.runpod.facts["adjustedCostPerHr"] = None
    facts = ask_facts(this_pod(pod.settings, pod.environ))
    assert isinstance(facts, PodFacts) and facts.per_hour == 0.74
    pod.runpod.fail(403)
    assert ask_facts(this_pod(pod.settings, pod.environ)) == "RUNPOD_API_KEY may not do that (403)."
