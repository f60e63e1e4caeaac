"""Moves finished files out of the folder that a trainer writes into, under their final names.

A trainer that writes its files in place would show pieces of them under their final names, and a kill
would leave such a piece for good. So it writes into a hidden folder beside them, and whole files move.
"""

import re
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from musabi.job.mp4 import is_whole_mp4
from musabi.job.plan import Step, plan_from_json
from musabi.job.record import ProducedFile, RunRecord
from musabi.job.renumber import Final, final_name, shift_metadata
from musabi.job.states import prune_of
from musabi.job.tb_mirror import mirror
from musabi.whole import is_whole_safetensors

STATE_FILES = ("optimizer.bin", "scheduler.bin", "random_states_0.pkl")
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
RAW_LOGS = "logs"
PICTURES = (".png", ".mp4")
LATENTS = (".safetensors",)
_PART = {".png": re.compile(r"_layer\d+|_\d{3}$"), ".safetensors": re.compile(r"_latent$")}
_SEED = re.compile(r"_(\d+)$")


def staging_folder(output_dir: Path, output_name: str) -> Path:
    """Return the folder that the trainer writes into: hidden, on the same disk as the output folder."""
    return output_dir / f".{output_name}.writing"


def clear_staging(step: Step) -> None:
    """Remove what an earlier run left in the folders that the step writes into, and make them anew."""
    for folder in (step.staging, step.pictures[0] if step.pictures else None):
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)


def _give_up(problem: OSError) -> None:
    raise problem


def harvest(
    step: Step,
    output_dir: Path,
    output_name: str,
    *,
    final: bool = False,
    trouble: Callable[[OSError], None] = _give_up,
) -> list[ProducedFile]:
    """Move what is whole to the output folder and return it, the oldest first.

    Called every second while the trainer runs, and with `final` after it ended: then the staging folder
    and what is not whole in it are removed. What can't be moved is handed to `trouble` and stays where it is,
    to be tried again; without one it is raised.
    """
    staging = step.staging
    if staging is None or not staging.is_dir():
        return []
    moved: list[ProducedFile] = []
    left = False
    for path in sorted((*staging.iterdir(), *staging.glob("sample/*")), key=_age):
        try:
            moved += _harvest_one(path, step, output_dir, output_name)
        except OSError as problem:
            left = True
            trouble(problem)
    try:
        if step.logs is not None:
            mirror(staging / RAW_LOGS, step.logs, step.epoch_offset, step.step_offset)
    except OSError as problem:
        trouble(problem)
    if final and not left:
        shutil.rmtree(staging, ignore_errors=True)
    return moved


def _harvest_one(path: Path, step: Step, output_dir: Path, output_name: str) -> Iterator[ProducedFile]:
    """Move one file or folder to its place, where it is whole and asked for."""
    assert step.staging is not None  # noqa: S101 - the caller looked
    name = path.relative_to(step.staging)
    place = final_name(name, output_name, step.epoch_offset, step.step_offset, _age(path))
    if place is None or not is_whole(path):
        return
    if not _asked_for(step, place):
        _remove(path)
        return
    yield _move(path, output_dir / place.path, place, step)


def place_pictures(step: Step) -> list[ProducedFile]:
    """Move what a sampler made, whole pictures, videos and latents, to where it belongs.

    A picture becomes NAME_00_20250131120000_42.png. They are numbered prompt by prompt; of several pictures of
    one prompt (layers) each has its own number at the end. The seed is taken from the sampler's own name,
    TIME_SEED_000.png, TIME_SEED.mp4 or TIME_SEED_latent.safetensors. The sampler's folder is removed.
    """
    if step.pictures is None:
        return []
    stamp = time.strftime("%Y%m%d%H%M%S")
    placed = [file for endings in (PICTURES, LATENTS) for file in _place(step, endings, stamp)]
    shutil.rmtree(step.pictures[0], ignore_errors=True)
    return placed


def _place(step: Step, endings: tuple[str, ...], stamp: str) -> Iterator[ProducedFile]:
    """Move the files of one kind, numbered from the step's first prompt on."""
    assert step.pictures is not None  # noqa: S101 - the caller looked
    written, folder, name = step.pictures
    prompts: dict[str, list[Path]] = {}
    for path in sorted((path for path in written.rglob("*") if path.suffix in endings), key=_name):
        if path.is_file() and is_whole(path):
            prompts.setdefault(_of_prompt(path), []).append(path)
    for index, (prompt, parts) in enumerate(prompts.items(), step.first_picture):
        seed = _SEED.search(prompt)
        for number, path in enumerate(parts):
            end = f"{f'_{seed[1]}' if seed else ''}{f'_{number:03d}' if len(parts) > 1 else ''}"
            kind = "_latent" if path.suffix in LATENTS else ""
            target = folder / f"{name}_{index:02d}_{stamp}{end}{kind}{path.suffix}"
            yield _move(path, target, Final(PurePath(target.name), "sample"), step)


def _of_prompt(path: Path) -> str:
    """Return what all files of a prompt have in common: the name without its layer or its frame."""
    part = _PART.get(path.suffix)
    return part.sub("", path.stem) if part else path.stem


def collect_left_behind(record: RunRecord) -> list[ProducedFile]:
    """Move what is whole out of the staging folders of a run whose runner was killed, and remove old states."""
    plan = plan_from_json(record.plan)
    output_dir, output_name = Path(record.job["output_dir"]), str(record.job["output_name"])
    files = [file for step in plan.steps for file in harvest(step, output_dir, output_name, final=True)]
    if record.legs:
        prune_of(record)
    return files


def is_whole(path: Path) -> bool:
    """Tell whether a checkpoint, a picture, a video or a state folder was written to its end."""
    if path.is_dir():
        return state_is_whole(path)
    if path.suffix == ".mp4":
        return is_whole_mp4(path)
    if path.suffix == ".png":
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - len(PNG_END)))
            return file.read() == PNG_END
    return is_whole_safetensors(path)


def state_is_whole(folder: Path) -> bool:
    """Tell whether a state folder of accelerate's `save_state` holds everything that a resume needs.

    The files but the first are torch's zip archives, whose table of contents is written last.
    """
    return is_whole_safetensors(folder / "model.safetensors") and all(
        zipfile.is_zipfile(folder / name) for name in STATE_FILES
    )


def _name(path: Path) -> str:
    return path.name


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _asked_for(step: Step, place: Final) -> bool:
    if place.epoch is None or place.kind == "sample":
        return True
    every = step.state_every if place.kind == "state" else step.checkpoint_every
    return place.epoch % every == 0


def _move(path: Path, target: Path, place: Final, step: Step) -> ProducedFile:
    """Move a file or folder into its place, a checkpoint with its counts shifted; a folder that stands there goes."""
    parts = [part for part in path.rglob("*") if part.is_file()] if path.is_dir() else [path]
    file = ProducedFile(
        kind=place.kind,
        path=target,
        size=sum(part.stat().st_size for part in parts),
        epoch=place.epoch,
        step=place.step,
        made=_age(path),
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        aside = path.with_name(f"{path.name}.replaced")
        target.rename(aside)
        path.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
    elif place.kind == "checkpoint" and (step.epoch_offset or step.step_offset):
        shift_metadata(path, target, step.epoch_offset, step.step_offset)
        path.unlink(missing_ok=True)
    else:
        path.replace(target)
    return file


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
