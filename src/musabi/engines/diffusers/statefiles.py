"""The files of a resumable state, and whether a folder holds all of them. Imports nothing heavy."""

from pathlib import Path
from typing import Any

from musabi.whole import is_whole_safetensors, read_json

MODEL, OPTIMIZER, SCHEDULE, RANDOM = (
    "model.safetensors",
    "optimizer.bin",
    "scheduler.bin",
    "random_states_0.pkl",
)
PROGRESS = "musabi-state.json"
FORMAT = 1


def read_progress(folder: Path) -> dict[str, Any] | None:
    """Return what was done when the state was saved, or None where the folder holds no whole state."""
    progress = read_json(folder / PROGRESS)
    if not isinstance(progress, dict) or progress.get("format") != FORMAT:
        return None
    for name, size in progress["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return None
    return progress if is_whole_safetensors(folder / MODEL) else None
