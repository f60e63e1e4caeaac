"""`musabi pod stop|delete|keep|status|guard` and `musabi cost`, as a person types them."""

import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest

from musabi.job.publishing import note_destination, unpublished_run
from musabi.job.record import RunState
from peers.loopback_runpod import KEY, POD, stand_in_runpodctl

from .conftest import PodFolder, wait_for
from .test_processes import musabi


def test_stop_needs_a_yes_where_nobody_can_be_asked(pod: PodFolder) -> None:
    done = musabi(pod, "pod", "stop")
    assert done.returncode == 2 and "Give --yes" in done.stderr
    assert pod.runpod.asked == []


@pytest.mark.parametrize(
    ("verb", "request_"), [("stop", ("POST", f"/pods/{POD}/stop")), ("delete", ("DELETE", f"/pods/{POD}"))]
)
def test_a_yes_ends_the_pod(pod: PodFolder, verb: str, request_: tuple[str, str]) -> None:
    done = musabi(pod, "pod", verb, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"pod": POD, "action": verb, "accepted": True, "way": "REST"}
    assert pod.runpod.asked == [request_]


def test_delete_says_what_is_lost(pod: PodFolder) -> None:
    done = musabi(pod, "pod", "delete")
    assert "everything that is not on a network volume" in done.stderr and "LoRAs" in done.stderr


def test_a_person_at_a_terminal_is_asked(pod: PodFolder) -> None:
    assert "Nothing was done." in at_a_terminal(pod, ["pod", "stop"], "n\n")
    assert pod.runpod.asked == []
    assert "Runpod accepted it" in at_a_terminal(pod, ["pod", "stop"], "y\n")
    assert len(pod.runpod.stops) == 1


def test_a_run_that_goes_on_is_not_thrown_away(pod: PodFolder) -> None:
    run = pod.add_run()
    done = musabi(pod, "pod", "stop", "--yes")
    assert done.returncode == 2 and f"{run.path.name} is still running" in done.stderr
    assert pod.runpod.asked == [] and not run.stop_file.exists()


def test_force_ends_the_run_first(pod: PodFolder) -> None:
    run = pod.add_run()
    command = [sys.executable, "-m", "musabi", "pod", "stop", "--yes", "--force"]
    with subprocess.Popen(command, env=pod.environ, stdout=subprocess.PIPE, text=True) as verb:
        wait_for(run.stop_file.exists)
        assert pod.runpod.asked == []
        record = run.load()
        record.state, record.message = RunState.STOPPED, "Stopped at step 5 of 9."
        run.save(record)
        out, _ = verb.communicate(timeout=20)
    assert "Stopped at step 5 of 9." in out and len(pod.runpod.stops) == 1


def test_a_run_that_has_ended_and_still_publishes_is_not_cut_off(pod: PodFolder) -> None:
    run = pod.add_run(RunState.DONE)
    done = musabi(pod, "pod", "delete", "--yes")
    assert done.returncode == 2 and f"{run.path.name} has ended, but its process still works" in done.stderr
    assert pod.runpod.asked == []
    assert musabi(pod, "pod", "delete", "--yes", "--force").returncode == 0


def test_while_another_process_stops_the_pod_only_force_does_it_too(pod: PodFolder) -> None:
    with pod.store.the_one_who_stops() as mine:
        assert mine
        done = musabi(pod, "pod", "stop", "--yes")
        assert done.returncode == 2 and "is stopping the pod already" in done.stderr
        assert pod.runpod.asked == []
        assert musabi(pod, "pod", "stop", "--yes", "--force").returncode == 0


@pytest.mark.parametrize(("verb", "code"), [("stop", 0), ("delete", 3)])
def test_a_run_that_is_ended_by_force_is_published_and_not_deleted_where_that_fails(
    pod: PodFolder, verb: str, code: int
) -> None:
    pod.environ |= {"HF_ENDPOINT": "http://127.0.0.1:9"}
    output = pod.root / "elsewhere"  # what the run was started with, not what is set here
    output.mkdir(parents=True)
    (output / "robot.safetensors").write_bytes(b"not a LoRA")
    run = pod.add_run()
    run.save(run.load().model_copy(update={"job": {"output_dir": str(output), "output_name": "robot"}}))
    note_destination(run, "hf:nobody/nothing")
    command = [sys.executable, "-m", "musabi", "pod", verb, "--yes", "--force"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=pod.environ, stdout=pipe, stderr=pipe, text=True) as running:
        wait_for(run.stop_file.exists)
        record = run.load()
        record.state = RunState.STOPPED
        run.save(record)
        out, err = running.communicate(timeout=60)
    assert "Publishing failed" in out
    assert running.returncode == code
    assert bool(pod.runpod.stops) == (code == 0)
    assert ("results exist only here" in err) == (code == 3)
    assert unpublished_run(pod.settings.space.runs) == run.path.name


def test_keep_names_what_a_run_would_have_done_at_its_end(pod: PodFolder) -> None:
    pod.environ |= {"ON_FINISH": "delete", "ON_ERROR": "stop"}
    said = musabi(pod, "pod", "keep", "--hours", "2").stdout
    ends = "at the end of the run that goes on now or any that ends within 2 h."
    assert f"ON_FINISH: the pod is not deleted {ends}" in said
    assert f"ON_ERROR: the pod is not stopped {ends}" in said


def test_a_stop_that_is_refused_says_that_the_pod_is_still_billed(pod: PodFolder) -> None:
    stand_in_runpodctl(pod.root / "bin", "failing")
    pod.runpod.fail(500)
    done = musabi(pod, "pod", "stop", "--yes")
    assert done.returncode == 3 and "still billed" in done.stderr and "console.runpod.io" in done.stderr
    assert KEY not in done.stderr + done.stdout


@pytest.mark.parametrize("words", [("pod", "stop", "--yes"), ("pod", "delete", "--yes"), ("pod", "guard")])
def test_another_machine_is_left_alone(pod: PodFolder, words: tuple[str, ...]) -> None:
    pod.environ.pop("RUNPOD_POD_ID")
    done = musabi(pod, *words)
    assert done.returncode == 2 and "This is not a Runpod pod" in done.stderr


def test_keep_says_where_there_is_nothing_to_keep_from(pod: PodFolder) -> None:
    done = musabi(pod, "pod", "keep")
    assert done.returncode == 0 and "No stop is announced" in done.stdout


def test_keep_without_a_guard_calls_the_stop_of_a_dead_process_off(pod: PodFolder) -> None:
    code = (
        "import os; from musabi.settings import load; from musabi.pod.places import PodPlaces; "
        "from musabi.pod.stopping.store import Store; from musabi.pod.stopping.deadline import Announcement; "
        "Store(PodPlaces(load(os.environ).musabi_state_dir))"
        ".announce(Announcement('stop', 'on_finish', 1.0, 2.0, 'x'))"
    )
    subprocess.run([sys.executable, "-c", code], env=pod.environ, check=True, timeout=30)
    assert "at" in pod.guard_file
    assert "it is not stopped for ON_FINISH" in musabi(pod, "pod", "keep").stdout
    assert "at" not in pod.guard_file


def test_cost_says_the_rate_and_what_was_spent(pod: PodFolder) -> None:
    now = time.time()
    pod.runpod.facts["lastStartedAt"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 7200))
    run = pod.add_run()
    run.events_file.write_text(
        json.dumps({"phase": "train", "t": now, "step": 1, "steps": 9, "eta_s": 3600.0}) + "\n"
    )
    out = musabi(pod, "cost").stdout
    assert "Rate: $0.69 an hour (Runpod)" in out
    assert "Spent: $1.38 since Runpod started the pod 2 h ago" in out
    assert f"Run: the rest of {run.path.name} takes about 1 h, $0.69" in out
    assert "Storage: the 20 GB volume costs about $4.00 a month, while the pod is stopped" in out


def test_cost_without_a_price_names_the_mend(pod: PodFolder) -> None:
    pod.runpod.fail(403)
    out = musabi(pod, "cost").stdout
    assert "Rate: unknown. RUNPOD_API_KEY may not do that (403). Set PRICE_PER_HOUR" in out
    pod.environ.pop("RUNPOD_POD_ID")
    pod.environ["PRICE_PER_HOUR"] = "2"
    values = json.loads(musabi(pod, "cost", "--json").stdout)
    assert (values["rate"], values["rate_from"], values["run"]) == (2, "PRICE_PER_HOUR", None)
    assert values["spent"] == pytest.approx(values["up_s"] / 3600 * 2)


def at_a_terminal(pod: PodFolder, words: list[str], typed: str) -> str:
    """Run a verb at a terminal of its own, answer it once, return what it printed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "musabi", *words]
    with subprocess.Popen(command, env=pod.environ, stdin=theirs, stdout=theirs, stderr=theirs) as verb:
        os.close(theirs)
        os.write(ours, typed.encode())
        said, end = b"", time.monotonic() + 30
        while time.monotonic() < end:
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    said += os.read(ours, 4096)
                except OSError:
                    break
        verb.wait(timeout=10)
    os.close(ours)
    return said.decode()
