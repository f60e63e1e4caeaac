"""Ctrl-C, stop, kill -9 and resume, on the embedded engine and a small model."""

import json
import os
import pty
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from small.space import Space

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("commands")]
LONG = {"MAX_TRAIN_EPOCHS": "60", "SAVE_EVERY_N_EPOCHS": "20"}
ENDLESS = {"MAX_TRAIN_EPOCHS": "20000", "SAVE_EVERY_N_EPOCHS": "5000"}


def wait_for(condition: Callable[[], Any], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def steps_done(space: Space) -> int:
    """Return the newest step in the newest run's events, read as a watcher would."""
    files = sorted(space.root.glob("runs/*/events.jsonl"), key=lambda path: path.stat().st_mtime)
    steps = [0]
    for line in files[-1].read_text().splitlines() if files else ():
        event = json.loads(line)
        if event["phase"] == "train" and event.get("loss") is not None:
            steps.append(event.get("step") or 0)
    return max(steps)


def learning_rates(folder: Path) -> dict[int, float]:
    """Return lr/unet by step, later values winning, from all event files below a folder."""
    from musabi.watch.scalars import event_files, read_scalars

    series = read_scalars(event_files(folder))["lr/unet"]
    return dict(zip(series.steps, series.values, strict=True))


def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(
    space: Space, tensors: Callable[[Path], dict[str, Any]]
) -> None:
    space.ok("train", "--optimizer", "adamw", OUTPUT_NAME="whole", LOGGING_DIR=str(space.root / "a"), **LONG)
    env = {"OUTPUT_NAME": "cut", "LOGGING_DIR": str(space.root / "b"), **LONG}
    space.ok("train", "--optimizer", "adamw", "--detach", **env)
    wait_for(lambda: steps_done(space) >= 70)
    message = space.ok("stop")
    assert "nothing is lost" in message and "musabi train --resume" in message
    assert space.status()["exit_code"] == 143
    space.ok("train", "--optimizer", "adamw", "--resume", **env)

    whole, cut = (
        sorted(p.name.split("-")[-1] for p in space.output.glob(f"{n}*.safetensors"))
        for n in ("whole", "cut")
    )
    assert [name.replace("whole", "") for name in whole] == [name.replace("cut", "") for name in cut]
    assert space.status()["progress"]["step"] == 180
    first, second = (tensors(space.output / f"{name}.safetensors") for name in ("whole", "cut"))
    assert all(first[name].equal(second[name]) for name in first)
    assert learning_rates(space.root / "a") == learning_rates(space.root / "b")


def test_a_killed_training_costs_at_most_one_save_interval(space: Space) -> None:
    env = {"MAX_TRAIN_EPOCHS": "60", "SAVE_EVERY_N_EPOCHS": "10"}
    space.ok("train", "--detach", **env)
    wait_for(lambda: steps_done(space) >= 65)
    done = steps_done(space)
    for folder in Path("/proc").glob("[0-9]*"):
        command = folder / "cmdline"
        if command.exists() and str(space.output).encode() in command.read_bytes():
            os.kill(int(folder.name), signal.SIGKILL)
    wait_for(lambda: space.status()["state"] in ("failed", "interrupted"))
    space.ok("train", "--continue", **env)
    events = (max(space.root.glob("runs/*"), key=lambda p: p.stat().st_mtime) / "events.jsonl").read_text()
    first = next(
        line for line in events.splitlines() if '"loss"' in line and '"step"' in line and "fixed" not in line
    )
    assert 0 <= done - json.loads(first)["step"] + 1 <= 30 + 1
    assert space.status()["progress"]["step"] == 180
    assert (space.output / "demo.safetensors").exists()


def in_terminal(space: Space, *arguments: str, **env: str) -> tuple[Any, int]:
    """Start a verb on a terminal of its own; return the process and the terminal's other end."""
    ours, theirs = pty.openpty()
    process = space.start(
        *arguments,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={"TERM": "xterm", **env},
        start_new_session=True,
    )
    os.close(theirs)
    return process, ours


def read_until(terminal: int, text: str, seconds: float = 180) -> str:
    """Read a terminal until `text` shows up."""
    os.set_blocking(terminal, False)
    seen = ""
    deadline = time.monotonic() + seconds
    while text not in seen:
        assert time.monotonic() < deadline, f"{text!r} did not show up in {seen[-2000:]!r}"
        try:
            seen += os.read(terminal, 65536).decode(errors="replace")
        except (BlockingIOError, OSError):
            time.sleep(0.05)
    return seen


def test_ctrl_c_asks_and_a_second_one_leaves_the_training_running(space: Space) -> None:
    process, terminal = in_terminal(space, "train", **ENDLESS)
    wait_for(lambda: steps_done(space) >= 3)
    os.kill(process.pid, signal.SIGINT)
    read_until(terminal, "Stop the run (s)")
    os.kill(process.pid, signal.SIGINT)
    read_until(terminal, "goes on")
    assert process.wait(timeout=120) == 130
    assert space.status()["state"] == "running"

    # Another terminal looks on; there, Ctrl-C and s stop the run, and what was saved is said.
    process, terminal = in_terminal(space, "logs", "-f", **ENDLESS)
    read_until(terminal, "step")
    os.kill(process.pid, signal.SIGINT)
    read_until(terminal, "Stop the run (s)")
    os.write(terminal, b"s\n")
    read_until(terminal, "nothing is lost")
    assert process.wait(timeout=180) == 143


def test_a_second_training_is_refused_while_one_goes_on(space: Space) -> None:
    space.ok("train", "--detach", **ENDLESS)
    code, message = space.refused("train", OUTPUT_NAME="other")
    assert code == 2 and "is still running" in message
    space.ok("stop")
    assert "is not running" in space.refused("stop")[1]


def test_there_is_nothing_to_resume_of_a_name_that_was_never_trained(space: Space) -> None:
    code, message = space.refused("train", "--resume")
    assert code == 2 and "There is no run of demo to go on with" in message
