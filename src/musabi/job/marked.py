"""Processes by a mark in their environment, which all that they start inherit, in sessions of their own, too."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from musabi.job.record import process_start

LOOK_SECONDS = 0.05


def end_marked(name: str, value: str, term_s: float) -> None:
    """End every process that has the variable `name` with that value: SIGTERM, `term_s` seconds later SIGKILL.

    One that the kernel does not let go within as long again is left to it: a device that does not answer.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        told: set[int] = set()
        deadline = time.monotonic() + term_s
        while (pids := set(marked(name, value))) and time.monotonic() < deadline:
            for pid in pids - told:  # also what was started meanwhile
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            told |= pids
            time.sleep(LOOK_SECONDS)


def marked(name: str, value: str) -> Iterator[int]:
    """Yield the ids of the processes with that variable, without this one and those that have ended."""
    wanted = f"{name}={value}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            has = wanted in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if has and process_start(int(entry.name)) is not None:
            yield int(entry.name)
