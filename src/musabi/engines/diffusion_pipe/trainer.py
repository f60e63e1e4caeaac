"""diffusion-pipe on this machine: its checkout, its environment, and the command that starts a training."""

import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from musabi.children import is_secret_name
from musabi.engines.diffusion_pipe.job import PipeJob
from musabi.engines.diffusion_pipe.places import PipePlaces
from musabi.engines.diffusion_pipe.states import State
from musabi.errors import MachineError
from musabi.hub.weights import hub_cache
from musabi.whole import read_json, write_json

FACTS_NAME = "musabi-diffusion-pipe.json"
SUBMODULES = ("submodules/ComfyUI", "submodules/HunyuanVideo")
"""What every model needs: models/base.py imports the first, utils/patches.py the second. The other seven are for
models that the endpoint has not."""
MEND = "Run musabi bootstrap --engine diffusion_pipe to make it."
SDXL_CONFIGS = "stabilityai/stable-diffusion-xl-base-1.0"
"""diffusers reads the configuration and the tokenizers of every SDXL checkpoint file from this repository."""
DEVICES = re.compile(r"\d+(,\d+)*")
MARK = "MUSABI_DIFFUSION_PIPE"
"""In the environment of all that a training starts: where its job is, so that leftovers can be found."""
TERM_SECONDS = 3.0
"""How long a leftover may take to end by itself."""


@dataclass(frozen=True)
class Trainer:
    """diffusion-pipe, ready to be started. `commit` and `torch` are versions."""

    root: Path
    commit: str
    torch: str

    @property
    def bin(self) -> Path:
        return self.root / ".venv" / "bin"


def find_trainer(checkout: Path) -> Trainer:
    """Return the diffusion-pipe of a checkout.

    Raises:
        MachineError: the checkout, a submodule that it needs, or its environment is not there.
    """
    if not (checkout / "train.py").is_file():
        raise MachineError(f"diffusion-pipe is not in {checkout}. {MEND}")
    for name in SUBMODULES:
        if not any((checkout / name).glob("*")):
            raise MachineError(f"diffusion-pipe's {name} is not in {checkout}. {MEND}")
    known = read_json(checkout / ".venv" / FACTS_NAME)
    programs = (checkout / ".venv" / "bin" / name for name in ("python", "deepspeed"))
    if not isinstance(known, dict) or not all(program.exists() for program in programs):
        raise MachineError(f"diffusion-pipe's Python environment is not in {checkout / '.venv'}. {MEND}")
    return Trainer(checkout, str(known.get("commit", "")), str(known.get("torch", "")))


def write_facts(venv: Path, *, commit: str, python: str, torch: str) -> None:
    """Write down what the verification of an environment found, for `find_trainer`."""
    write_json(venv / FACTS_NAME, {"commit": commit, "python": python, "torch": torch})


def require_configs(job: PipeJob, environ: Mapping[str, str]) -> None:
    """Raise MachineError where a model wants a file from the hub that is not in the cache, and the hub is off."""
    if job.type != "sdxl" or environ.get("HF_HUB_OFFLINE") not in ("1", "true", "TRUE", "yes"):
        return
    cache = hub_cache(dict(environ))
    snapshots = cache / f"models--{SDXL_CONFIGS.replace('/', '--')}" / "snapshots"
    if not any(snapshots.glob("*/model_index.json")):
        raise MachineError(
            f"SDXL's configuration and tokenizers ({SDXL_CONFIGS}, its .json and .txt files) are not in the hub cache "
            f"{cache}, and the trainer reads them offline. They belong to the model: fetch it again."
        )


def command(trainer: Trainer, job: PipeJob, config: Path, state: State | None, port: int) -> tuple[str, ...]:
    """Return the command of a training. Pure but for CUDA_VISIBLE_DEVICES.

    The port is told twice: train.py puts its own, 29500 by default, over that of the launcher.

    Raises:
        MachineError: CUDA_VISIBLE_DEVICES names GPUs in a way that DeepSpeed can't read.
    """
    resume = () if state is None else ("--resume_from_checkpoint", state.training.name)
    return (
        str(trainer.bin / "deepspeed"),
        *devices(job.gpus, os.environ.get("CUDA_VISIBLE_DEVICES")),
        *("--master_port", str(port)),
        *("train.py", "--deepspeed", "--config", str(config), "--master_port", str(port)),
        *resume,
    )


def devices(gpus: int, visible: str | None) -> tuple[str, ...]:
    """Return the launcher's words for the GPUs to train on.

    With --num_gpus DeepSpeed drops CUDA_VISIBLE_DEVICES and takes the first ones, which may be another job's; so
    the numbers in it are named to it.

    Raises:
        MachineError: it holds too few of them, or no numbers.
    """
    if visible is None:
        return ("--num_gpus", str(gpus))
    named = visible.replace(" ", "")
    if not DEVICES.fullmatch(named):
        raise MachineError(
            "CUDA_VISIBLE_DEVICES holds no GPU numbers, which DeepSpeed wants. Set it to numbers such as 0,1."
        )
    numbers = named.split(",")
    if len(numbers) < gpus:
        raise MachineError(f"CUDA_VISIBLE_DEVICES names {len(numbers)} GPUs, and the job asks for {gpus}.")
    return ("--include", f"localhost:{','.join(numbers[:gpus])}")


def environment(trainer: Trainer, places: PipePlaces, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the trainer's environment: its own programs first, no secrets, NCCL as a single machine needs it."""
    kept = {name: value for name, value in environ.items() if not is_secret_name(name)}
    for name in ("PYTHONPATH", "PYTHONHOME"):
        kept.pop(name, None)
    return kept | {
        "PATH": f"{trainer.bin}:{environ.get('PATH', os.defpath)}",
        "VIRTUAL_ENV": str(trainer.root / ".venv"),
        "NCCL_P2P_DISABLE": "1",
        "NCCL_IB_DISABLE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        MARK: mark_of(places),
    }


def mark_of(places: PipePlaces) -> str:
    """Return what the processes of a job's trainings bear in their environment."""
    return str(places.root)


@contextmanager
def held_port() -> Iterator[int]:
    """Yield a free TCP port that no other training on this machine chooses meanwhile.

    It is bound, so that the kernel gives it to nobody who asks for any port, and not listened on, so that
    torch's store, which sets SO_REUSEADDR as well, can bind it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("", 0))
        yield held.getsockname()[1]
