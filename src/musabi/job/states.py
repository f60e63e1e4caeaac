"""The resumable states of a run: finding, choosing and pruning `-state` folders.

Names (musubi-tuner's, kept by every engine): NAME-000010-state after epoch 10,
NAME-step00000012-state after step 12, NAME-state at the end.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from musabi.job.plan import ResumePoint, Schedule


@dataclass(frozen=True)
class State:
    """A state folder and how much was done when it was saved. `made` is Unix seconds."""

    path: Path
    epoch: int
    step: int
    made: float


def find_states(output_dir: Path, output_name: str, timing: Schedule) -> list[State]:
    """Return the state folders of one output name, the least advanced first."""
    pattern = re.compile(re.escape(output_name) + r"(?:-step(?P<step>\d{8})|-(?P<epoch>\d{6}))?-state")
    found = []
    for path in output_dir.iterdir() if output_dir.is_dir() else ():
        match = pattern.fullmatch(path.name)
        if match is None or not path.is_dir():
            continue
        epoch, step = _progress(match["epoch"], match["step"], timing)
        found.append(State(path, epoch, step, path.stat().st_mtime))
    return sorted(found, key=lambda state: (state.step, state.made))


def choose(states: list[State], since: float, is_whole: Callable[[Path], bool]) -> ResumePoint | None:
    """Return the most advanced whole state that was saved after `since` (Unix seconds)."""
    for state in reversed(states):
        if state.made >= since and is_whole(state.path):
            return ResumePoint(state.path, state.epoch, state.step)
    return None


def prune(states: list[State], since: float, keep: int) -> list[Path]:
    """Remove all but the newest `keep` states that were saved after `since`; return what went."""
    mine = [state for state in states if state.made >= since]
    gone = [state.path for state in mine[:-keep]]
    for path in gone:
        shutil.rmtree(path)
    return gone


def _progress(epoch: str | None, step: str | None, timing: Schedule) -> tuple[int, int]:
    if step is not None:
        return int(step) // timing.steps_per_epoch, int(step)
    if epoch is not None:
        return int(epoch), min(int(epoch) * timing.steps_per_epoch, timing.steps)
    return timing.epochs, timing.steps
