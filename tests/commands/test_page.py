"""musabi page, as a person starts it: what it prints, what it answers, how it ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from musabi.commands.page import has_screen

WITHOUT_STARLETTE = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "starlette" else found(name, *more)
sys.argv = ["musabi", "page"]
from musabi.cli import main
main()
"""


@contextmanager
def started(tmp_path: Path, *words: str, **environ: str) -> Iterator["subprocess.Popen[str]"]:
    known = {"WORKSPACE": str(tmp_path / "ws"), "MUSABI_STATE_DIR": str(tmp_path / "state")}
    process = subprocess.Popen(
        [sys.executable, *(words or ("-m", "musabi", "page", "--port", "0", "--no-browser"))],
        env=dict(os.environ) | known | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def address_in(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    return next(word for word in line.split() if word.startswith("http://"))


def test_the_address_that_it_prints_lets_in_and_no_other_does(tmp_path: Path) -> None:
    with started(tmp_path) as page, httpx.Client(follow_redirects=True, timeout=20) as client:
        address = address_in(page)
        assert address.startswith("http://127.0.0.1:") and "?token=" in address
        bare = address.partition("?")[0]
        assert httpx.get(bare, timeout=20).status_code == 401
        shown = client.get(address)
        assert shown.status_code == 200 and "token" not in str(shown.url) and "What to do next" in shown.text
        begun = time.monotonic()
        page.send_signal(signal.SIGINT)
        said, errors = page.communicate(timeout=20)
    assert page.returncode == 130 and time.monotonic() - begun < 5
    assert "What it started goes on." in said and errors == ""


def test_a_port_that_is_taken_is_said_in_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with started(tmp_path, "-m", "musabi", "page", "--no-browser", "--port", port) as page:
            said, errors = page.communicate(timeout=30)
    assert page.returncode == 3 and said == ""
    assert errors.startswith(f"Error: Port {port} can't be listened on") and "--port" in errors
    assert "Traceback" not in errors


def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path: Path) -> None:
    with started(tmp_path, "-c", WITHOUT_STARLETTE) as page:
        said, errors = page.communicate(timeout=30)
    assert page.returncode == 3 and said == ""
    assert "needs the package starlette" in errors and "musabi[pod]" in errors and "Traceback" not in errors


@pytest.mark.parametrize(
    ("environ", "platform", "there"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "linux", False),
        ({}, "darwin", True),
        ({"DISPLAY": ":0", "RUNPOD_POD_ID": "pod1"}, "linux", False),
        ({"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}, "darwin", False),
    ],
)
def test_a_browser_is_opened_only_where_a_person_sees_it(
    environ: dict[str, str], platform: str, there: bool
) -> None:
    assert has_screen(environ, platform) is there
