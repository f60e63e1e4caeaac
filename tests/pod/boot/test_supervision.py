"""PID 1 at work: restarts, zombies, sockets, secrets, and the end."""

import json
import os
import signal
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pod.boot.box import Box, wait_for

pytestmark = pytest.mark.slow
# Two children in sessions of their own whose parent goes at once: the kernel gives them to PID 1.
ORPHANS = "for n in 1 2 3; do setsid sh -c 'sleep 0.2' & done; setsid sleep 1000 & echo left\n"
TOKEN = "marked-jupyter-token-0123456789"
SECRETS = {
    "JUPYTER_TOKEN": TOKEN,
    "HF_TOKEN": "hf_markedtoken0123456789abcdef",
    "RUNPOD_API_KEY": "rpa_markedkey0123456789abcdef",
}


def zombies(box: Box) -> list[str]:
    assert box.booted is not None
    states = []
    for pid in box.booted.processes():
        stat = Path(f"/proc/{pid}/stat").read_text()
        if stat.rsplit(")", 1)[1].split()[0] == "Z":
            states.append(stat)
    return states


def services(box: Box) -> dict[str, Any]:
    values = json.loads(box.path("/var/lib/musabi/pod/boot.json").read_text())
    found: dict[str, Any] = values["services"]
    return found


def test_a_killed_jupyter_is_started_again_and_zombies_are_reaped(box: Box) -> None:
    box.put("/post_start.sh", ORPHANS)
    boot = box.start().ready()
    token = box.ok("musabi", "url")
    boot.wait_for_log("post_start: left")
    first = boot.named("-m jupyterlab")
    os.kill(first[0], signal.SIGKILL)
    boot.wait_for_log("jupyter: It ended (killed by SIGKILL) and starts again in 1 s.")
    wait_for(lambda: boot.log.count("JupyterLab answers after") == 2, what="the second answer")
    assert boot.named("-m jupyterlab") != first
    assert box.ok("musabi", "url") == token
    wait_for(lambda: not zombies(box), 5, "the zombies' end")
    assert services(box)["jupyter"]["restarts"] == 1
    assert boot.process.poll() is None


def test_a_jupyter_that_cannot_start_is_tried_ever_more_slowly(box: Box) -> None:
    box.put("/pre_start.sh", "setsid python3 -m http.server 8888 >/dev/null 2>&1 &\nsleep 0.5\n")
    boot = box.start()
    for seconds in (1, 2, 4):
        boot.wait_for_log(f"and starts again in {seconds} s.", 60)
    asked = box.run("musabi", "health")
    assert asked.returncode == 3 and "JupyterLab answers 404" in asked.stdout
    assert boot.end() == 143


def test_health_says_why_where_jupyter_does_not_answer(box: Box) -> None:
    boot = box.start().ready()
    os.kill(boot.named("-m jupyterlab")[0], signal.SIGKILL)
    boot.wait_for_log("starts again")
    asked = box.run("musabi", "health", "--json")
    assert asked.returncode == 3
    assert "JupyterLab is " in json.loads(asked.stdout)["message"] and len(asked.stdout.splitlines()) == 1


def test_no_secret_is_on_a_command_line_or_in_a_log(box: Box) -> None:
    box.put("/post_start.sh", "echo my token is $HF_TOKEN and $JUPYTER_TOKEN\n")
    boot = box.start(RUN_BOOTSTRAP_ON_START="1", ENGINE="diffusers", **SECRETS).ready()
    boot.wait_for_log("bootstrap: Done.")
    boot.wait_for_log("post_start: my token is *** and ***")
    wait_for(lambda: not boot.named("doctor --boot"), what="the report's end")
    for pid in boot.processes():
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        assert not [name for name, value in SECRETS.items() if value in command]
    logs = [path.read_text() for path in box.path("/var/lib/musabi/pod/logs").glob("*.log")]
    volume = [
        path.read_text(errors="replace") for path in box.path("/workspace").rglob("*") if path.is_file()
    ]
    for name, value in SECRETS.items():
        assert value not in boot.log, name
        assert not [text for text in logs + volume if value in text], name
    jupyter = boot.named("-m jupyterlab")[0]
    environ = Path(f"/proc/{jupyter}/environ").read_text()
    assert TOKEN not in environ and "JUPYTER_TOKEN" not in environ
    kept = box.path("/var/lib/musabi/pod/jupyter-token")
    assert kept.read_text() == TOKEN and kept.stat().st_mode & 0o777 == 0o600
    assert TOKEN in box.ok("musabi", "url")


def test_the_end_leaves_nothing_and_takes_less_than_five_seconds(box: Box) -> None:
    box.put(
        "/post_start.sh",
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 1000' & while :; do sleep 1; done\n",
    )
    boot = box.start().ready()
    wait_for(lambda: boot.named("post_start"), what="the hook")
    begun = time.monotonic()
    assert boot.end(10) == 143
    assert time.monotonic() - begun < 5
    assert boot.log.rstrip().endswith("boot: Ended.")


def test_a_stop_at_any_moment_of_a_boot_ends_it(box: Box) -> None:
    rng = Random(5)  # noqa: S311 - moments
    first_seen = set()
    for wait in (0.0, *(rng.uniform(0.0, 4.0) for _ in range(9))):
        boot = box.start(RUN_BOOTSTRAP_ON_START="1", ENGINE="diffusers")
        first_seen.add(first_hold(boot.first))
        time.sleep(wait)
        begun = time.monotonic()
        assert boot.end(10) == 143, f"{wait:.2f} s after the start:\n{boot.log}"
        assert time.monotonic() - begun < 5, f"{wait:.2f} s after the start:\n{boot.log}"
    assert "blocked" in first_seen  # before anything is imported, so that no signal is lost


def first_hold(pid: int) -> str:
    """Wait until a process blocks or catches SIGTERM; tell which it did first."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        rows = Path(f"/proc/{pid}/status").read_text().splitlines()
        masks = {
            row.split()[0]: int(row.split()[1], 16)
            for row in rows
            if row.startswith("Sig") and "/" not in row
        }
        for name, word in (("SigBlk:", "blocked"), ("SigCgt:", "caught")):
            if rows[0].split()[1].startswith("python") and masks[name] >> (signal.SIGTERM - 1) & 1:
                return word
        time.sleep(0.001)
    raise AssertionError("the boot did nothing about SIGTERM")


def test_a_second_boot_beside_the_first_is_refused(box: Box) -> None:
    box.start().ready()
    asked = box.run("musabi", "boot")
    assert asked.returncode == 3 and "This pod has booted already" in asked.stderr
    assert box.ok("musabi", "health")


def test_a_second_signal_hurries_the_end(box: Box) -> None:
    box.put("/post_start.sh", "trap '' TERM; while :; do sleep 1; done\n")
    boot = box.start().ready()
    wait_for(lambda: boot.named("post_start"), what="the hook")
    begun = time.monotonic()
    boot.signal(signal.SIGTERM)
    boot.wait_for_log("SIGTERM: the pod ends.")
    assert boot.end(10) == 143
    assert time.monotonic() - begun < 2.5


def test_outside_a_container_the_end_leaves_nothing_either(box: Box) -> None:
    """PID 1 is another process here, as under `docker run --init`."""
    box.put("/post_start.sh", "setsid setsid sleep 1234 &\nsetsid setsid sleep 1234 &\nexit 0\n")
    boot = box.start(as_first=False).ready()
    wait_for(lambda: len(boot.named("sleep 1234")) == 2, what="the orphans")
    os.kill(next(pid for pid in boot.named("-m musabi.pod.boot") if pid != boot.first), signal.SIGTERM)
    boot.wait_for_log("boot: Ended.")
    assert boot.named("sleep 1234") == boot.named("jupyter") == []
