"""A verb that is typed while the bootstrap is at work waits for what it needs, and for no more."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musabi.commands.waiting import awaited
from musabi.pod.bootstrap.state import StateFile, volume_state
from musabi.workspace import Workspace

DONE = dict.fromkeys(
    ("templates", "clone", "accelerate", "environment", "link", "packages", "verify"), "done"
)
VAE = Path("/workspace/models/vae/ae.safetensors")


def status(state: str = "running", **stages: str) -> dict[str, Any]:
    return {"state": state, "stages": {name: {"state": how} for name, how in (DONE | stages).items()}}


@pytest.mark.parametrize(
    ("given", "missing", "stage"),
    [
        (None, [VAE], None),
        (status("done", weights="done"), [VAE], None),
        (status("interrupted", weights="running"), [VAE], None),
        (status(weights="running"), [VAE], "weights"),
        (status(weights="running"), [], None),
        (status(weights="failed"), [VAE], None),
        (status(environment="running", packages="waiting", weights="running"), [], "environment"),
        (status(verify="waiting", packages="running"), [], "packages"),
        (status(verify="blocked", environment="failed", weights="running"), [], None),
    ],
)
def test_what_is_waited_for(given: dict[str, Any] | None, missing: list[Path], stage: str | None) -> None:
    found = awaited(given, missing)
    assert (found and found[0]) == stage


@pytest.fixture
def at_work(tmp_path: Path) -> Callable[..., StateFile]:
    """A bootstrap of this very process, as far as its state file tells."""

    def begin(**stages: str) -> StateFile:
        space = Workspace(tmp_path)
        space.state.mkdir()
        state = volume_state(space)
        state.start_run("musubi", [*DONE, "weights"])
        for name, how in (DONE | stages).items():
            state.progress(name, state=how)
        return state

    return begin


def test_prepare_waits_and_then_names_what_failed(tmp_path: Path, at_work: Callable[..., StateFile]) -> None:
    state = at_work(verify="running", weights="running")
    state.progress("weights", bytes=3_000_000_000, total=20_000_000_000)
    program = [sys.executable, "-m", "musabi", "prepare", "--set", f"workspace={tmp_path}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(program, text=True, **pipes) as verb:
        assert verb.stdout is not None
        assert "Waiting for the bootstrap: verify" in verb.stdout.readline()
        state.progress("verify", state="done")
        assert "3.00 of 20.00 GB" in verb.stdout.readline()
        time.sleep(1)
        assert verb.poll() is None
        state.progress("weights", state="failed")
        state.end_run("failed")
        rest = verb.communicate(timeout=30)[0]
    assert verb.returncode == 3
    assert "musubi-tuner is not in" in rest


def test_a_plan_does_not_wait(tmp_path: Path, at_work: Callable[..., StateFile]) -> None:
    at_work(verify="waiting", weights="running")
    program = [sys.executable, "-m", "musabi", "plan", "--set", f"workspace={tmp_path}"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=30)
    # The trainer that is still to come keeps no one from reading a plan; the dataset that is not there does.
    assert done.returncode == 2
    assert "dataset.toml is not there" in done.stderr
