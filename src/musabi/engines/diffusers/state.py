"""Resumable states: everything that training needs to go on as if it had not stopped."""

import io
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from musabi.engines.diffusers import statefiles
from musabi.engines.diffusers.lora import Network
from musabi.errors import RequestError
from musabi.whole import write_json


@dataclass
class Progress:
    """How far a run is: `step` steps and `epoch` whole epochs are done.

    `losses` holds the newest loss at each place of an epoch, for the moving average.
    """

    step: int = 0
    epoch: int = 0
    losses: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Training:
    """The parts of a run that a state holds. `identity` must be the same when it is resumed."""

    network: Network
    optimizer: torch.optim.Optimizer
    schedule: Any
    noise: torch.Generator
    identity: Mapping[str, object]


def save_state(folder: Path, training: Training, progress: Progress) -> None:
    """Write a state folder; it appears under its name only when all of it is on disk."""
    from safetensors.torch import save

    parts = {
        statefiles.MODEL: save(training.network.tensors(torch.float32)),
        statefiles.OPTIMIZER: _bytes(training.optimizer.state_dict()),
        statefiles.SCHEDULE: _bytes(training.schedule.state_dict()),
        statefiles.RANDOM: _bytes({"noise": training.noise.get_state()}),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    try:
        for name, data in parts.items():
            _write_synced(part / name, data)
        sizes = {name: len(data) for name, data in parts.items()}
        done = {"step": progress.step, "epoch": progress.epoch, "losses": progress.losses}
        identity = {"identity": dict(training.identity)}
        write_json(
            part / statefiles.PROGRESS, {"format": statefiles.FORMAT, "files": sizes} | done | identity
        )
        part.chmod(0o755)
        _put_in_place(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def load_state(folder: Path, training: Training) -> Progress:
    """Take everything from a state folder; return how far the run was.

    Raises:
        RequestError: the folder holds no whole state, or one of another dataset, optimizer or rank.
    """
    from safetensors.torch import load_file

    saved = statefiles.read_progress(folder)
    if saved is None:
        raise RequestError(
            f"{folder} holds no whole state of the diffusers engine. Name another -state folder."
        )
    for name, value in training.identity.items():
        if saved["identity"].get(name) != value:
            raise RequestError(
                f"{folder} can't be resumed: its {name} was {saved['identity'].get(name)} and is now {value}. "
                "Put it back, or start a new run under another OUTPUT_NAME."
            )
    training.network.load(load_file(folder / statefiles.MODEL))
    training.optimizer.load_state_dict(_load(folder / statefiles.OPTIMIZER))
    training.schedule.load_state_dict(_load(folder / statefiles.SCHEDULE))
    training.noise.set_state(_load(folder / statefiles.RANDOM)["noise"])
    return Progress(saved["step"], saved["epoch"], list(saved["losses"]))


def remove_leftovers(folder: Path, output_name: str) -> None:
    """Remove what a killed run of this output name left half-written in its output folder."""
    mine = re.compile(rf"\.{re.escape(output_name)}(-\d{{6}}|-step\d{{8}})?(-state|\.safetensors)\..*\.part")
    for path in folder.iterdir() if folder.is_dir() else ():
        if not mine.fullmatch(path.name):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _bytes(value: object) -> bytes:
    """Serialize in memory, so that a full disk shows as an OSError of a plain write."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _load(path: Path) -> Any:  # noqa: ANN401
    return torch.load(path, map_location="cpu", weights_only=True)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _put_in_place(part: Path, folder: Path) -> None:
    """Rename `part` to `folder`; an older folder of that name is moved away first, then removed."""
    if folder.exists():
        old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
        folder.rename(old / "old")
        part.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        part.rename(folder)
