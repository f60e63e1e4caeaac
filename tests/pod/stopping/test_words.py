"""What is said about a stop reaches every terminal, and one that takes nothing holds nobody up."""

import os
import pty
import select
import time
from pathlib import Path

from musabi.pod.stopping.deadline import Announcement
from musabi.pod.stopping.words import announcement_words, tell_terminals

DUE = Announcement("delete", "on_finish", 0.0, 120.0, "the run is done (ON_FINISH)")


def test_every_terminal_is_told(tmp_path: Path) -> None:
    pairs = [pty.openpty() for _ in range(2)]
    try:
        for number, (_, theirs) in enumerate(pairs):
            (tmp_path / str(number)).symlink_to(os.ttyname(theirs))
        (tmp_path / "2").symlink_to("/dev/nothing-of-that-name")
        tell_terminals("This pod will be stopped", tmp_path)
        for ours, _ in pairs:
            assert select.select([ours], [], [], 5)[0]
            assert b"*** This pod will be stopped" in os.read(ours, 1000)
    finally:
        for pair in pairs:
            for end in pair:
                os.close(end)


def test_a_terminal_that_nobody_reads_holds_nobody_up(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        (tmp_path / "0").symlink_to(os.ttyname(theirs))
        began = time.monotonic()
        for _ in range(2000):
            tell_terminals("x" * 200, tmp_path)
        assert time.monotonic() - began < 10
    finally:
        os.close(theirs)
        os.close(ours)


def test_a_deletion_says_what_is_lost_and_how_to_keep_it() -> None:
    said = announcement_words(DUE, 0.0)
    assert "will be deleted in 2 min" in said and "not on a network volume is lost" in said
    assert "musabi pod keep" in said
