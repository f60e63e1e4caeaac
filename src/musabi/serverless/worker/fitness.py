"""What must be right before a worker takes a job: each check is a row, and says in a sentence what is wrong.

Runpod's SDK runs them when the worker starts; one that fails ends the worker, is logged and reported, and Runpod
starts another. They look at this worker alone: a wrong request or a missing model is the job's matter.
"""

import importlib.util
import os
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from musabi.errors import MachineError
from musabi.hub.listing import free_bytes, gigabytes
from musabi.machine import DRIVER, QUERY
from musabi.serverless.places import Places
from musabi.serverless.trainers import is_in_image, is_ready

LEAST_BYTES = 1_000_000_000
"""Room for a job's own small files. Models that leave to make room for others are the model cache's matter."""
GPU_SECONDS = 30.0


def volume_can_be_written(places: Places, _environ: Mapping[str, str]) -> None:
    """Require that files can be made where the jobs lie."""
    probe = places.jobs / f".probe-{os.getpid()}"
    try:
        places.jobs.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(os.urandom(4096))
        probe.unlink()
    except OSError as problem:
        raise MachineError(
            f"{places.jobs} can't be written ({problem.strerror}). Look at the volume in Runpod's console."
        ) from None


def disk_has_room(places: Places, _environ: Mapping[str, str]) -> None:
    """Require room for a job's files on the volume."""
    free = free_bytes(places.root)
    if free < LEAST_BYTES:
        raise MachineError(
            f"Only {gigabytes(free)} are free on the disk of {places.root}. Enlarge the volume, or remove what is "
            "not needed from it."
        )


def models_folder_is_there(places: Places, _environ: Mapping[str, str]) -> None:
    """Require a folder for weights."""
    try:
        places.models.mkdir(parents=True, exist_ok=True)
        next(places.models.iterdir(), None)
    except OSError as problem:
        raise MachineError(
            f"The models' folder {places.models} can't be used ({problem.strerror}). Move what is there away."
        ) from None


def gpu_answers(_places: Places, environ: Mapping[str, str], driver: Path = DRIVER) -> None:
    """Require that the GPU answers, where there is a driver for one."""
    if not driver.exists():
        return
    try:
        done = subprocess.run(
            QUERY, capture_output=True, text=True, timeout=GPU_SECONDS, env=dict(environ), check=False
        )
    except subprocess.TimeoutExpired:
        raise MachineError(f"nvidia-smi did not answer within {GPU_SECONDS:.0f} s: the GPU hangs.") from None
    except OSError:
        raise MachineError("There is a GPU's driver here, but nvidia-smi can't be started.") from None
    if done.returncode != 0 or "," not in done.stdout:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise MachineError(f"The GPU does not answer: {said[0] if said else 'nvidia-smi names none'}")


def trainer_is_there(places: Places, _environ: Mapping[str, str]) -> None:
    """Require a trainer: musubi-tuner with its environment, in the root or in the image, or the embedded engine."""
    if is_ready("musubi", places.checkout) or is_in_image("musubi"):
        return
    if importlib.util.find_spec("diffusers") is None:
        raise MachineError(
            f"There is no trainer here: musubi-tuner's environment is not in {places.checkout / '.venv'}. Use the "
            "serverless image, which has it, or run musabi bootstrap."
        )


CHECKS: tuple[Callable[[Places, Mapping[str, str]], None], ...] = (
    volume_can_be_written,
    disk_has_room,
    models_folder_is_there,
    gpu_answers,
    trainer_is_there,
)


def checks(places: Places, environ: Mapping[str, str]) -> list[Callable[[], None]]:
    """Return the checks as the SDK takes them: without arguments, named, raising what is wrong."""
    ready: list[Callable[[], None]] = []
    for check in CHECKS:
        one = partial(check, places, environ)
        one.__name__ = check.__name__  # type: ignore[attr-defined]
        ready.append(one)
    return ready
