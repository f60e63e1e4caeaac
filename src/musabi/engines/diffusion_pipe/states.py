"""The states that diffusion-pipe resumes from, and its half-written leftovers.

A training's folder holds global_stepN/ (DeepSpeed's state after step N), `latest` (the name of the one to load,
written when that is whole) and epochN/ (a LoRA; tmp/ in it until it is whole). A file named `save_quit` in it makes
the trainer save its state after the step and end. DeepSpeed removes no old states; that is done here.
"""

import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from musabi.whole import write_text

STATE = re.compile(r"global_step(\d+)")
MODEL = re.compile(r"(?:epoch|step)(\d+)")
LATEST, SAVE_AND_QUIT = "latest", "save_quit"
SIGNALS = ("save", SAVE_AND_QUIT)
KEPT_STATES = 2


@dataclass(frozen=True)
class State:
    """A whole state: the training's folder that it lies in, and the steps that were done."""

    training: Path
    step: int

    @property
    def name(self) -> str:
        return f"global_step{self.step}"


def trainings(folder: Path) -> list[Path]:
    """Return the trainings in diffusion-pipe's output folder, the newest first (they are named by their time)."""
    found = (path for path in folder.glob("*") if path.is_dir()) if folder.is_dir() else ()
    return sorted(found, key=lambda path: path.name, reverse=True)


def newest_state(folder: Path, before: int | None = None) -> State | None:
    """Return the newest whole state of the trainings under `folder`, or None where there is none.

    `before`: of those that were saved before that step (the loss was bad from there on).
    """
    for training in trainings(folder):
        for state in _states(training):
            if (before is None or state.step < before) and _is_whole(training / state.name):
                return state
    return None


def _states(training: Path) -> list[State]:
    """Return the states of a training, the newest first."""
    steps = [int(match[1]) for path in training.iterdir() if (match := STATE.fullmatch(path.name))]
    return [State(training, step) for step in sorted(steps, reverse=True)]


def _is_whole(state: Path) -> bool:
    """Tell whether every file that torch.save wrote is whole: a zip archive, whose list of members comes last."""
    files = list(state.glob("*.pt"))
    named = any(file.name.startswith("mp_rank_") for file in files)
    return named and all(zipfile.is_zipfile(file) for file in files)


def prepare(state: State) -> None:
    """Make a training's folder ready to go on from a state: nothing half-written and no stale signal is left in it."""
    for other in _states(state.training):
        if other.step > state.step:
            shutil.rmtree(state.training / other.name, ignore_errors=True)
    for unfinished in state.training.glob("*/tmp"):
        if MODEL.fullmatch(unfinished.parent.name):
            shutil.rmtree(unfinished.parent, ignore_errors=True)
    for name in SIGNALS:
        (state.training / name).unlink(missing_ok=True)
    write_text(state.training / LATEST, state.name)


def prune(training: Path, keep: int = KEPT_STATES) -> None:
    """Remove all but the newest `keep` states up to the one that `latest` names; later ones are being written."""
    try:
        latest = STATE.fullmatch((training / LATEST).read_text(encoding="utf-8").strip())
    except OSError:
        return
    if latest is None:
        return
    done = [state for state in _states(training) if state.step <= int(latest[1])]
    for state in done[keep:]:
        shutil.rmtree(training / state.name, ignore_errors=True)


def finished_models(training: Path) -> list[Path]:
    """Return the folders of the LoRAs that are whole, in the order in which they were saved."""
    found = [
        (path.stat().st_mtime_ns, int(match[1]), path)
        for path in training.iterdir()
        if (match := MODEL.fullmatch(path.name))
        and not (path / "tmp").exists()
        and any(path.glob("*.safetensors"))
    ]
    return [path for _, _, path in sorted(found)]
