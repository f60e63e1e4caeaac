"""The resumable states of a run: finding, choosing and pruning `-state` folders.

Names (musubi-tuner's, kept by every engine): NAME-000010-state after epoch 10,
NAME-step00000012-state after step 12, NAME-state at the end.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from musabi.job.finite import is_finite
from musabi.job.plan import ResumePoint
from musabi.job.record import Leg, RunRecord
from musabi.whole import is_whole_safetensors

LORA_IN_STATE = "model.safetensors"


@dataclass(frozen=True)
class State:
    """A state folder and how much was done when it was saved. `made` is Unix seconds."""

    path: Path
    epoch: int
    step: int
    made: float


def state_pattern(output_name: str) -> re.Pattern[str]:
    """Return what the names of an output name's state folders match; groups "step" and "epoch", as in the name."""
    return re.compile(re.escape(output_name) + r"(?:-step(?P<step>\d{8})|-(?P<epoch>\d{6}))?-state")


def find_states(output_dir: Path, output_name: str, legs: Sequence[Leg]) -> list[State]:
    """Return the state folders of one output name, the oldest first.

    `legs` are the trainings that wrote them: a state without a number was saved at the end of the leg
    that was going on when it was made. States that a leg saved after its loss went bad are left out.
    """
    pattern = state_pattern(output_name)
    found = []
    for path in output_dir.iterdir() if output_dir.is_dir() else ():
        match = pattern.fullmatch(path.name)
        if match is None or not path.is_dir():
            continue
        made = path.stat().st_mtime
        leg = next((leg for leg in reversed(legs) if leg.started <= made), legs[0])
        state = State(path, *_progress(match["epoch"], match["step"], leg), made)
        if leg.bad_from is None or state.step < leg.bad_from:
            found.append(state)
    # By time: after a resume from an earlier state, or with fewer images, the newest may have fewer steps.
    return sorted(found, key=lambda state: (state.made, state.step))


def choose(states: list[State], since: float, is_whole: Callable[[Path], bool]) -> ResumePoint | None:
    """Return the newest whole state that was saved after `since` (Unix seconds) and holds numbers only."""
    for state in reversed(states):
        if state.made >= since and is_whole(state.path) and is_finite(state.path / LORA_IN_STATE):
            return ResumePoint(state.path, state.epoch, state.step)
    return None


def prune(states: list[State], since: float, keep: int) -> list[Path]:
    """Remove all but the newest `keep` states that were saved after `since`; return what went."""
    mine = [state for state in states if state.made >= since]
    gone = [state.path for state in mine[:-keep]]
    for path in gone:
        shutil.rmtree(path)
    return gone


def prune_of(record: RunRecord) -> list[Path]:
    """Remove the states beyond those that a run keeps; return what went.

    The state at the end does not count until the LoRA of the end is there: killed in between, a run
    goes on from the state before. Nor does a state that holds no numbers: as many of these are kept besides.
    """
    output_dir, name = Path(record.job["output_dir"]), str(record.job["output_name"])
    done = is_whole_safetensors(output_dir / f"{name}.safetensors")
    since, keep = record.lineage_started, int(record.job["keep_last_states"])
    useful: list[State] = []
    useless: list[State] = []
    for state in find_states(output_dir, name, record.legs):
        if done or state.path.name != f"{name}-state":
            (useful if is_finite(state.path / LORA_IN_STATE) else useless).append(state)
    return prune(useful, since, keep) + prune(useless, since, keep)


def _progress(epoch: str | None, step: str | None, leg: Leg) -> tuple[int, int]:
    if step is not None:
        return int(step) // leg.steps_per_epoch, int(step)
    if epoch is not None:
        return int(epoch), int(epoch) * leg.steps_per_epoch + leg.ahead
    return leg.epochs, leg.steps
