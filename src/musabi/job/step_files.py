"""The files of a run's steps: what is put in place before a step, what it produced, what was left to convert."""

import shutil
import time
from pathlib import Path, PurePath

from musabi.errors import MachineError
from musabi.job.harvest import clear_staging
from musabi.job.plan import Step
from musabi.job.record import ProducedFile
from musabi.job.renumber import final_name
from musabi.whole import is_whole_safetensors, write_text


def prepare_files(step: Step) -> None:
    """Remove stale files, write the stamps that say what the new ones are made from, clear the staging."""
    for path in step.discard:
        path.unlink(missing_ok=True)
    if step.output is not None:
        step.output[1].parent.mkdir(parents=True, exist_ok=True)
    for path, text in step.stamp:
        write_text(path, text)
    clear_staging(step)


def unconverted(folder: Path, output_name: str, since: float) -> list[Path]:
    """Return the whole LoRAs of that name, made since then (Unix seconds), that have no ComfyUI file as new."""
    found = []
    for path in sorted(folder.iterdir()):
        place = final_name(PurePath(path.name), output_name)
        if place is None or place.kind != "checkpoint" or path.stat().st_mtime < since:
            continue
        twin = folder / "comfyui" / path.name
        if twin.is_file() and twin.stat().st_mtime >= path.stat().st_mtime:
            continue
        if is_whole_safetensors(path):
            found.append(path)
    return found


def produced(kind: str, path: Path, epoch: int | None, step: int | None) -> ProducedFile:
    """Return the record of a finished file or folder, its size summed in bytes."""
    files = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    size = sum(part.stat().st_size for part in files)
    return ProducedFile(kind=kind, path=path, size=size, epoch=epoch, step=step, made=time.time())


def require_room(folder: Path, needed: int) -> None:
    """Make the folder.

    Raises:
        MachineError: its disk has less than `needed` bytes free.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise MachineError(
            f"{folder} has {free / 1e6:,.0f} MB free, but this run will write {needed / 1e6:,.0f} MB. "
            f"Free {(needed - free) / 1e6:,.0f} MB, or keep fewer states and checkpoints."
        )
