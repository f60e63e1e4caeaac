"""The guard as the process that the boot starts: real seconds, kills, commands beside it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from peers.loopback_runpod import KEY, stand_in_runpodctl

from .conftest import PodFolder, end_processes, start_guard, wait_for

# The container started long ago, so this is over at once.
AT_ONCE = {"MAX_HOURS": "0.000001"}


def musabi(pod: PodFolder, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "musabi", *words],
        env=pod.environ,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def log_of(pod: PodFolder) -> str:
    return (pod.root / "guard.log").read_text()


def test_the_countdown_lasts_as_long_as_it_says(pod: PodFolder) -> None:
    pod.environ |= AT_ONCE | {"STOP_COUNTDOWN": "4"}
    guard = start_guard(pod)
    try:
        wait_for(lambda: pod.places.guard.exists() and "at" in pod.guard_file)
        announced = pod.guard_file["announced"]
        wait_for(lambda: pod.runpod.stops)
        assert 4 <= time.time() - announced < 12
        assert KEY not in log_of(pod) + "".join(
            path.read_text() for path in pod.places.root.iterdir() if path.is_file()
        )
    finally:
        end_processes(guard)


def test_a_guard_that_is_killed_in_the_countdown_goes_on_with_it(pod: PodFolder) -> None:
    pod.environ |= AT_ONCE | {"STOP_COUNTDOWN": "8"}
    guard = start_guard(pod)
    try:
        wait_for(lambda: pod.places.guard.exists() and "at" in pod.guard_file)
        at = pod.guard_file["at"]
        os.kill(guard.pid, signal.SIGKILL)
        guard.wait(timeout=5)
        guard = start_guard(pod)
        wait_for(lambda: pod.guard_file.get("pid") == guard.pid)
        assert pod.guard_file["at"] == at
        wait_for(lambda: pod.runpod.stops)
        assert time.time() >= at
        assert len(pod.runpod.stops) == 1
    finally:
        end_processes(guard)


def test_musabi_keep_and_status_reach_a_guard_that_counts_down(pod: PodFolder) -> None:
    pod.environ |= AT_ONCE | {"STOP_COUNTDOWN": "30"}
    guard = start_guard(pod)
    try:
        wait_for(lambda: pod.places.guard.exists() and "at" in pod.guard_file)
        for words in (("status",), ("pod", "status")):
            assert "This pod will be stopped in" in musabi(pod, *words).stdout
        kept = musabi(pod, "pod", "keep", "--hours", "2")
        assert "The pod is kept: it is not stopped for MAX_HOURS." in kept.stdout
        assert "it may run for 2 h from now" in kept.stdout
        wait_for(lambda: "at" not in pod.guard_file)
        wait_for(lambda: "The pod is not stopped: somebody asked to keep the pod." in log_of(pod))
        assert pod.runpod.stops == []
        assert "MAX_HOURS: 2 h left" in musabi(pod, "pod", "status").stdout
    finally:
        end_processes(guard)


def test_there_is_one_guard_and_status_knows_of_it(pod: PodFolder) -> None:
    pod.environ |= {"MAX_HOURS": "1000000", "IDLE_MINUTES": "1000000"}
    unguarded = "WARNING: No guard runs, so the pod is not stopped by MAX_HOURS or IDLE_MINUTES."
    assert unguarded in musabi(pod, "pod", "status").stdout
    guard = start_guard(pod)
    try:
        wait_for(lambda: "WARNING" not in musabi(pod, "pod", "status").stdout)
        second = musabi(pod, "pod", "guard")
        assert second.returncode == 2 and "A guard watches over this pod already" in second.stderr
        guard.kill()
        guard.wait(timeout=5)
        assert unguarded in musabi(pod, "status").stdout
    finally:
        end_processes(guard)


def test_sigterm_ends_the_guard_even_between_two_attempts(pod: PodFolder) -> None:
    pod.environ |= AT_ONCE | {"STOP_COUNTDOWN": "1"}
    pod.runpod.fail(500)
    guard = start_guard(pod)
    try:
        wait_for(lambda: pod.runpod.stops)
        wait_for(lambda: "It is tried again in" in log_of(pod))
        guard.terminate()
        assert guard.wait(timeout=5) == 0
    finally:
        end_processes(guard)


def test_the_key_is_on_no_command_line_while_the_guard_stops_the_pod(pod: PodFolder) -> None:
    pod.environ |= AT_ONCE | {"STOP_COUNTDOWN": "1"}
    calls = stand_in_runpodctl(pod.root / "bin", "slow")
    guard = start_guard(pod)
    try:
        wait_for(calls.exists)
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert KEY.encode() not in path.read_bytes()
            except OSError:
                continue
    finally:
        end_processes(guard)
    assert KEY not in log_of(pod)


def test_where_nothing_can_stop_the_pod_it_is_said_at_the_start(pod: PodFolder) -> None:
    pod.environ |= {"MAX_HOURS": "1000000"}
    pod.environ.pop("RUNPOD_API_KEY")
    guard = start_guard(pod)
    try:
        wait_for(lambda: "WARNING: Nothing here can stop the pod" in log_of(pod))
    finally:
        end_processes(guard)


@pytest.mark.slow
def test_the_guard_costs_nothing(pod: PodFolder) -> None:
    pod.environ |= {"MAX_HOURS": "1000000", "IDLE_MINUTES": "10000000"}
    for _ in range(20):
        pod.add_run(pid=2**22 + 1)
    guard = start_guard(pod)
    try:
        wait_for(lambda: "The pod will be stopped" in log_of(pod))
        time.sleep(1)
        before, began = cpu_seconds(guard.pid), time.monotonic()
        time.sleep(40)
        share = (cpu_seconds(guard.pid) - before) / (time.monotonic() - began)
        assert share < 0.01
    finally:
        end_processes(guard)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
