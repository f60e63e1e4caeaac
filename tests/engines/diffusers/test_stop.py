"""Real processes: stopped, killed, out of disk. Each ends as promised and can be resumed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from musabi.engines.diffusers.statefiles import read_progress
from musabi.job.events import Event, parse
from musabi.whole import is_whole_safetensors

Argv = Callable[..., list[str]]
SECONDS = 120
LONG = ("--max_train_epochs", 400, "--save_every_n_epochs", 1, "--save_state_every_n_epochs", 1)

pytestmark = pytest.mark.slow


class Child:
    """A training as a process of its own."""

    def __init__(self, argv: list[str]) -> None:
        self.events: list[Event] = []
        self.text = ""
        self._deadline = time.monotonic() + SECONDS
        self.process = subprocess.Popen(
            [sys.executable, "-m", "musabi.engines.diffusers.train", *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )

    def until(self, seen: Callable[[Event], bool]) -> Event:
        """Read events until one is as wanted."""
        for line in self._lines():
            event = parse(line)
            if event is not None:
                self.events.append(event)
                if seen(event):
                    return event
        raise AssertionError(f"the training ended first:\n{self.text}")

    def end(self) -> int:
        """Read to the end; return the exit code."""
        for line in self._lines():
            event = parse(line)
            if event is not None:
                self.events.append(event)
        return self.process.wait(timeout=SECONDS)

    def _lines(self) -> Iterator[str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line
            assert time.monotonic() < self._deadline, self.text
            yield line.strip()


@pytest.fixture
def start(training_argv: Argv) -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def make(folder: Path, *flags: object) -> Child:
        children.append(Child(training_argv(folder, *flags)))
        return children[-1]

    yield make
    for child in children:
        child.process.kill()
        child.process.wait()
        if child.process.stdout is not None:
            child.process.stdout.close()


def test_sigterm_saves_a_state_at_its_step_and_ends_with_143(
    start: Callable[..., Child], run_training: Callable[..., Any], tmp_path: Path
) -> None:
    child = start(tmp_path, "--max_train_epochs", 400)
    child.until(lambda event: event.step is not None and event.step >= 4)
    child.process.send_signal(signal.SIGTERM)
    assert child.end() == 143
    (state,) = tmp_path.iterdir()
    step = child.events[-1].step
    assert state.name == f"lora-step{step:08d}-state"
    assert (read_progress(state) or {})["step"] == step
    assert [event.file for event in child.events if event.kind == "state"] == [str(state)]
    assert child.events[-1].message == f"Stopped at step {step}, and its state is saved."
    rest = run_training(tmp_path, "--max_train_steps", step + 2, "--resume", state)
    assert [event.step for event in rest.steps] == [step + 1, step + 2]


def test_sigterm_before_the_first_step_ends_at_once_and_says_so(
    start: Callable[..., Child], tmp_path: Path
) -> None:
    child = start(tmp_path, "--max_train_epochs", 400)
    deadline = time.monotonic() + SECONDS
    while child.process.poll() is None and time.monotonic() < deadline:
        if "SigCgt" in (status := Path(f"/proc/{child.process.pid}/status").read_text()):
            caught = int(status.split("SigCgt:")[1].split()[0], 16)
            if caught & 1 << (signal.SIGTERM - 1):
                break
        time.sleep(0.02)
    child.process.send_signal(signal.SIGTERM)
    assert child.end() == 143
    assert child.events[-1].message == "Stopped before the first step: there is nothing to save."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "moment", [1, *(pytest.param(number, marks=pytest.mark.full) for number in (0, 2, 3, 4))]
)
def test_sigkill_leaves_only_whole_files_and_costs_at_most_one_interval(
    start: Callable[..., Child], run_training: Callable[..., Any], tmp_path: Path, moment: int
) -> None:
    child = start(tmp_path, *LONG)
    child.until(lambda event: event.kind == "state" and (event.epoch or 0) >= 2 + moment)
    time.sleep(0.05 * moment)
    child.process.kill()
    child.end()
    last = max(event.step or 0 for event in child.events)
    files = sorted(path for path in tmp_path.iterdir() if not path.name.startswith("."))
    states = [path for path in files if path.name.endswith("-state")]
    assert all(read_progress(state) is not None for state in states)
    assert all(is_whole_safetensors(path) for path in files if path.suffix == ".safetensors")
    newest = read_progress(states[-1]) or {}
    assert last - newest["step"] <= 3 + 1
    done = run_training(tmp_path, "--max_train_steps", newest["step"] + 4, "--resume", states[-1])
    assert [event.step for event in done.steps] == list(range(newest["step"] + 1, newest["step"] + 5))
    assert not list(tmp_path.glob(".*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 2.2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2200k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_ends_in_one_plain_line_and_leaves_nothing_half_written(
    start: Callable[..., Child], run_training: Callable[..., Any], small_disk: Path
) -> None:
    child = start(small_disk, *LONG)
    assert child.end() == 3
    said = child.events[-1]
    assert (said.kind, said.message) == (
        "error",
        "The disk is full, so a file could not be written. Make room, then go on with --resume.",
    )
    assert "Traceback" not in child.text
    assert not list(small_disk.glob(".*"))
    states = sorted(path for path in small_disk.iterdir() if path.name.endswith("-state"))
    assert states
    assert all(read_progress(state) is not None for state in states)
    newest = read_progress(states[-1]) or {}
    for path in small_disk.glob("*.safetensors"):
        path.unlink()
    for old in states[:-1]:
        subprocess.run(["rm", "-r", str(old)], check=True)
    rest = run_training(small_disk, "--max_train_steps", newest["step"] + 1, "--resume", states[-1])
    assert rest.code == 0


def test_a_read_only_output_folder_is_named(start: Callable[..., Child], small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    child = start(small_disk / "out", "--max_train_steps", 1)
    assert child.end() == 3
    message = child.events[-1].message or ""
    assert message.startswith(f"{small_disk / 'out'} can't be written: Read-only file system.")
    assert "Traceback" not in child.text
