"""Verbs that the page starts: they outlive the request and the server, and what they say is shown safely."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from musabi.watch.page import doing
from musabi.watch.page.doing import MOST_KEPT, MOST_LINES, Doing

PROGRAM = """
import os, sys, time
word, *rest = sys.argv[1:]
if word == "say":
    print("\\n".join(rest))
elif word == "fail":
    print("Something happened."); sys.exit("Error: There is no such run. Name one of these: demo.\\nand more")
elif word == "quiet":
    sys.exit(3)
elif word == "count":
    for number in range(int(rest[0])): print("line", number)
elif word == "secret":
    print("the token is", os.environ["HF_TOKEN"], "https://me:pass@hub.example/x")
elif word == "write":
    print("begun"); time.sleep(float(rest[1]))
    for number in range(3): print("still here", number); sys.stdout.flush()
    open(rest[0], "w").write("whole")
elif word == "bytes":
    sys.stdout.buffer.write(b"caf\\xe9\\r\\n\\x1b[31mred\\n")
elif word == "argv":
    print(repr(rest), os.environ.get("NO_COLOR"), sys.stdin.read() == "", os.getpid() == os.getsid(0))
"""


@pytest.fixture
def program(tmp_path: Path) -> dict[str, str]:
    """The environment in which `python -P -m musabi` is a program of the test."""
    (tmp_path / "path" / "musabi").mkdir(parents=True)
    (tmp_path / "path" / "musabi" / "__init__.py").write_text("")
    (tmp_path / "path" / "musabi" / "__main__.py").write_text(PROGRAM)
    return {"PYTHONPATH": str(tmp_path / "path"), "PATH": os.environ["PATH"], "HF_TOKEN": "hf_abcdefgh"}


def wait_for(path: Path, seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not path.exists():
        time.sleep(0.02)
    return path.exists()


def test_a_verb_is_started_with_the_words_as_they_are_and_nothing_to_read(program: dict[str, str]) -> None:
    words = ["argv", "a b", "$(touch x)", "--name=;rm", "*", "\u00e9"]
    task = Doing(program).do("Say", words, "Said.")
    assert task.lines[-1] == f"{words[1:]!r} 1 True True"


def test_a_verb_that_went_well_says_so(program: dict[str, str]) -> None:
    task = Doing(program).do("Say", ["say", "one", "", "two  "], "It was said.")
    assert (task.code, task.message, list(task.lines)) == (0, "It was said.", ["one", "two"])
    assert task.ended is not None and task.ended >= task.started


def test_a_verb_that_failed_says_why_in_its_own_words(program: dict[str, str]) -> None:
    one = Doing(program)
    assert one.do("Fail", ["fail"], "Done.").message == "There is no such run. Name one of these: demo."
    assert one.do("Quiet", ["quiet"], "Done.").message == "It ended with exit code 3."


def test_the_real_program_refuses_in_words(tmp_path: Path) -> None:
    environ = dict(os.environ) | {"WORKSPACE": str(tmp_path)}
    task = Doing(environ).do("Grid", ["grid", "--no-such-option"], "Done.")
    assert task.code == 2
    assert "Traceback" not in "\n".join(task.lines)
    assert task.message and not task.message.startswith("Error")


def test_a_long_verb_is_not_waited_for_and_ends_by_itself(program: dict[str, str], tmp_path: Path) -> None:
    begun = time.monotonic()
    task = Doing(program).start("Write", ["write", str(tmp_path / "out"), "0.4"], "Written.")
    assert time.monotonic() - begun < 0.3
    assert task.code is None and task.message == "Started."
    assert task.over.wait(10) and task.message == "Written."


def test_a_verb_that_takes_long_is_waited_for_so_long_and_goes_on(
    program: dict[str, str], tmp_path: Path
) -> None:
    task = Doing(program).do("Write", ["write", str(tmp_path / "out"), "0.8"], "Written.", seconds=0.3)
    assert task.code is None
    assert task.over.wait(10) and task.code == 0
    assert (tmp_path / "out").read_text() == "whole"


def test_a_running_verb_shows_its_newest_line(program: dict[str, str], tmp_path: Path) -> None:
    task = Doing(program).start("Write", ["write", str(tmp_path / "out"), "30"], "Written.")
    until = time.monotonic() + 10
    while task.message == "Started." and time.monotonic() < until:
        time.sleep(0.02)
    assert task.message == "begun"


SERVER = """
import os, sys, time
from musabi.watch.page.doing import Doing
sys.path.insert(0, sys.argv[3])
environ = dict(os.environ) | {"PYTHONPATH": sys.argv[3]}
Doing(environ).start("Write", ["write", sys.argv[1], "0.6"], "Written.")
open(sys.argv[2], "w").close()
time.sleep(60)
"""


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_verb_outlives_the_server(program: dict[str, str], tmp_path: Path, way: signal.Signals) -> None:
    words = [str(tmp_path / "out"), str(tmp_path / "begun"), program["PYTHONPATH"]]
    server = subprocess.Popen([sys.executable, "-c", SERVER, *words], stderr=subprocess.DEVNULL)
    try:
        assert wait_for(tmp_path / "begun")
        server.send_signal(way)
        server.wait(10)
    finally:
        server.kill()
        server.wait(10)
    assert not (tmp_path / "out").exists()
    assert wait_for(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "whole"


def test_secrets_are_shown_by_no_line(program: dict[str, str]) -> None:
    task = Doing(program, ("another",)).do("Secret", ["secret"], "Done.")
    assert list(task.lines) == ["the token is *** https://***@hub.example/x"]


def test_lines_of_odd_bytes_are_shown(program: dict[str, str]) -> None:
    task = Doing(program).do("Bytes", ["bytes"], "Done.")
    assert task.lines[0] == "caf\ufffd"
    assert "red" in task.lines[-1]


def test_of_many_lines_the_last_ones_are_kept(program: dict[str, str]) -> None:
    task = Doing(program).do("Count", ["count", "5000"], "Done.")
    assert len(task.lines) == MOST_LINES
    assert task.lines[-1] == "line 4999"


def test_only_so_many_verbs_are_remembered_and_none_that_still_works(
    program: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doing, "MOST_KEPT", 3)
    one = Doing(program)
    working = one.start("Works", ["write", str(tmp_path / "out"), "1"], "Written.")
    for number in range(5):
        one.do(f"Say {number}", ["say", "x"], "Done.")
    titles = [task.title for task in one.tasks]
    assert titles == ["Say 4", "Say 3", "Works"]
    assert working.code is None
    assert MOST_KEPT <= 100
    assert working.over.wait(10)
