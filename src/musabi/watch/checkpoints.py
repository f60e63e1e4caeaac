"""The LoRA files that a run left behind, native and converted side by side."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from musabi.job.record import ProducedFile

_EPOCH = re.compile(r"-(\d{6})")
_STEP = re.compile(r"-step(\d{8})")
CONVERTED_FOLDER = "comfyui"


@dataclass(frozen=True)
class LoraFile:
    """A file on disk, or one that the record knows and that is gone (`size` is then None). Bytes."""

    path: Path
    size: int | None


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint in both forms. `epoch` and `step` are None for the end of the training."""

    stem: str
    label: str
    epoch: int | None
    step: int | None
    native: LoraFile | None
    converted: LoraFile | None

    @property
    def on_disk(self) -> bool:
        """Whether one of the forms is still there."""
        return any(file is not None and file.size is not None for file in (self.native, self.converted))


def checkpoints(files: Iterable[ProducedFile], output_name: str) -> list[Checkpoint]:
    """Return the checkpoints among the files of a run, in the order of training, the final one last."""
    native = {file.path.stem: file for file in files if file.kind == "checkpoint"}
    converted = {file.path.stem: file for file in files if file.kind == "converted"}
    rows = []
    for stem in native.keys() | converted.keys():
        source, result = native.get(stem), converted.get(stem)
        path = result.path if result else source.path.parent / CONVERTED_FOLDER / source.path.name  # type: ignore[union-attr]
        suffix = stem.removeprefix(output_name)
        epoch, step = _EPOCH.fullmatch(suffix), _STEP.fullmatch(suffix)
        rows.append(
            Checkpoint(
                stem=stem,
                label=_label(epoch, step, stem, output_name),
                epoch=int(epoch[1]) if epoch else None,
                step=int(step[1]) if step else None,
                native=_on_disk(source.path) if source else None,
                converted=_on_disk(path) if result or path.is_file() else None,
            )
        )
    made = {file.path.stem: file.made for file in [*converted.values(), *native.values()]}
    return sorted(rows, key=lambda row: (row.stem == output_name, made[row.stem], row.stem))


def to_take(rows: Iterable[Checkpoint]) -> tuple[Checkpoint, LoraFile] | None:
    """Return the newest checkpoint that is on disk and its file to use, the converted one first."""
    for row in reversed(list(rows)):
        for file in (row.converted, row.native):
            if file is not None and file.size is not None:
                return row, file
    return None


def _on_disk(path: Path) -> LoraFile:
    return LoraFile(path, path.stat().st_size if path.is_file() else None)


def _label(epoch: re.Match[str] | None, step: re.Match[str] | None, stem: str, output_name: str) -> str:
    if stem == output_name:
        return "Final"
    if epoch:
        return f"Epoch {int(epoch[1])}"
    return f"Step {int(step[1]):,}" if step else stem
