"""Which Python the captioner runs in, and what it gets to see of this process's environment."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from musabi.engines.registry import installed
from musabi.errors import MachineError
from musabi.settings import Settings

WORKER = Path(__file__).with_name("worker.py")


def captioning_python(settings: Settings) -> Path:
    """Return the trainer's interpreter; with ENGINE=diffusers, this very one.

    Raises:
        MachineError: it is not there, or has no torch and transformers.
    """
    if settings.engine == "diffusers":
        if installed(("torch", "transformers")) != {"torch", "transformers"}:
            raise MachineError(
                "Captions need torch and transformers, which are not installed here. Install musabi[diffusers]."
            )
        return Path(sys.executable)
    python = settings.space.checkout / ".venv" / "bin" / "python"
    if not python.exists():
        raise MachineError(
            f"Captions are made in musubi-tuner's environment, which is not in {python.parents[1]}. "
            "Run musabi bootstrap to make it."
        )
    return python


def captioning_environment(settings: Settings, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the worker's environment: nothing is asked of the hub, nothing is painted into its output.

    `environ` is what it is made from, this process's own where it is None.
    """
    return (
        dict(os.environ if environ is None else environ)
        | settings.child_environment
        | {
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_ENABLE_HF_TRANSFER": "0",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        }
    )
