"""What LoRA files are called in a grid."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

_EPOCH = re.compile(r"-(\d{6})")
_STEP = re.compile(r"-step(\d{8})")


def labels(files: Sequence[Path], output_name: str) -> list[str]:
    """Return a label for each file: its epoch or step where it is a checkpoint of the run, else its name.

    Files of the same name are told apart by their folders.
    """
    same = Counter(_label(path.stem, output_name) for path in files)
    return [
        label
        if same[label := _label(path.stem, output_name)] == 1
        else f"{path.absolute().parent.name}/{label}"
        for path in files
    ]


def _label(stem: str, output_name: str) -> str:
    ending = stem.removeprefix(output_name) if stem.startswith(output_name) else stem
    if not ending:
        return "Final"
    if epoch := _EPOCH.fullmatch(ending):
        return f"Epoch {int(epoch[1])}"
    if step := _STEP.fullmatch(ending):
        return f"Step {int(step[1]):,}"
    return stem
