"""The verb as a person runs it: killed, stopped, turned down on a terminal."""

import contextlib
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from .conftest import Models, draw

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("captioning")]
FILES = 60
WAIT = 120
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def workspace(root: Path) -> dict[str, str]:
    """Make a workspace whose trainer's Python is this one, and return its environment."""
    python = root / "musubi-tuner" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (root / "tmp").mkdir()
    named = {"WORKSPACE": str(root), "TMPDIR": str(root / "tmp"), "ENGINE": "auto", "OMP_NUM_THREADS": "1"}
    return dict(os.environ) | named


def command(folder: Path, model: Path, *more: str) -> list[str]:
    # Many tokens a caption, one picture at a time: there is time to end it in the middle.
    pace = ("--device", "cpu", "--batch", "1", "--max-tokens", "60")
    return [sys.executable, "-m", "musabi", "caption", str(folder), "--model-path", str(model), *pace, *more]


def workers(folder: Path) -> list[str]:
    """Return the workers whose environment names the workspace."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            continue
        if b"worker.py" in line and f"WORKSPACE={folder}".encode() in environment:
            found.append(entry.name)
    return found


def test_what_is_done_stays_whether_killed_or_stopped(models: Models, tmp_path: Path) -> None:
    environment = workspace(tmp_path / "ws")
    images = tmp_path / "images"
    for number in range(FILES):
        draw(images / f"{number:02}.png", (number, 0, 0))
    argv = command(images, models.qwen25)

    killed = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: len(captions(images)) >= 6)
    killed.kill()
    killed.communicate(timeout=WAIT)
    wait_for(lambda: not workers(tmp_path / "ws"))
    first = {file: file.read_bytes() for file in captions(images)}
    assert 6 <= len(first) < FILES
    assert all(text.endswith(b"\n") and len(text) > 2 for text in first.values())

    with OnATerminal(argv, environment) as person:
        person.waits_for(b"and the other ")
        time.sleep(0.3)
        assert len(captions(images)) == len(first)  # nothing is written before the answer
        person.types(b"y\n")
        wait_for(lambda: len(captions(images)) >= len(first) + 4)
        person.types(b"\x03")  # Ctrl-C
        person.waits_for(b"Start again for the rest")
        assert person.exit_code() == 130, person.shown
    assert b"Traceback" not in person.shown
    assert f"{FILES - len(first)} files get a caption; {len(first)} have one.".encode() in person.shown
    wait_for(lambda: not workers(tmp_path / "ws"))
    assert len(first) < len(captions(images)) < FILES
    assert {file: file.read_bytes() for file in first} == first
    assert not list(images.glob(".*.part"))
    assert not list((tmp_path / "ws" / "tmp").iterdir())


def test_three_are_shown_and_no_means_that_none_is_written(models: Models, tmp_path: Path) -> None:
    environment = workspace(tmp_path / "ws")
    images = tmp_path / "images"
    for number in range(5):
        draw(images / f"{number}.png", (number * 50, 0, 0))
    with OnATerminal(command(images, models.qwen3), environment) as person:
        person.waits_for(b"and the other ")
        person.types(b"n\n")
        person.waits_for(b"Nothing was written. Change --prompt")
        assert person.exit_code() == 0
    assert all(f"{number}.png: ".encode() in person.shown for number in (0, 2, 4))
    assert captions(images) == []


def captions(images: Path) -> list[Path]:
    return sorted(images.glob("*.txt"))


class OnATerminal:
    """A command on a terminal of its own, and the person before it."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self.shown = b""
        self._terminal, theirs = pty.openpty()
        # A session whose terminal this is, so that Ctrl-C reaches the command as a person's would.
        self._command = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *argv],
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        os.set_blocking(self._terminal, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_problem: object) -> None:
        self._command.kill()
        self._command.wait()
        os.close(self._terminal)

    def waits_for(self, text: bytes) -> None:
        wait_for(lambda: text in self._read())

    def types(self, text: bytes) -> None:
        os.write(self._terminal, text)

    def exit_code(self) -> int:
        return self._command.wait(timeout=WAIT)

    def _read(self) -> bytes:
        with contextlib.suppress(OSError):  # nothing new, or the other end is closed
            self.shown += os.read(self._terminal, 65536)
        return self.shown


def test_wrong_requests_end_with_a_sentence_and_their_code(models: Models, tmp_path: Path) -> None:
    environment = workspace(tmp_path / "ws") | {"CUDA_VISIBLE_DEVICES": ""}
    images = draw(tmp_path / "images" / "a.png", (1, 1, 1)).parent
    (tmp_path / "empty").mkdir()
    cases = [
        (["caption", str(tmp_path / "empty")], 2, "There is no picture or video"),
        (["caption", str(images), "--with", "blip"], 2, "CAPTION_WITH"),
        (["caption", str(images), "--model-path", str(tmp_path / "no")], 3, "There is no GPU here"),
        (["caption", str(images), "--device", "cpu", "--json"], 3, "musabi models download fancyfeast/"),
        (["caption", str(images), "--extension", "txt"], 2, "--extension must be a dot"),
        (["caption", str(images), "--device", "gpu"], 2, "--device must be cuda"),
    ]
    for arguments, code, said in cases:
        done = subprocess.run(
            [sys.executable, "-m", "musabi", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=WAIT,
        )
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
        assert "Traceback" not in done.stderr
        if "--json" in arguments:
            assert json.loads(done.stdout)["exit_code"] == code
