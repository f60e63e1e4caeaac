"""What diffusion-pipe saved, under the names that every engine's LoRAs have.

epochN/ becomes OUTPUT_NAME-0000NN.safetensors, the last one OUTPUT_NAME.safetensors. The file in it is called
lora.safetensors (SDXL, kohya's keys), pytorch_lora_weights.safetensors (FLUX.1, diffusers' keys) or
adapter_model.safetensors (all others, ComfyUI's keys); ComfyUI reads all three. The adapter_config.json that
diffusion-pipe writes for the last kind is left: what hands a LoRA over makes one for every kind.
"""

import shutil
import time
from pathlib import Path

from musabi.errors import TrainerError
from musabi.job.record import ProducedFile
from musabi.whole import is_whole_safetensors

FILES = ("lora.safetensors", "pytorch_lora_weights.safetensors", "adapter_model.safetensors")


def lora_in(folder: Path) -> Path:
    """Return the LoRA in a folder that diffusion-pipe saved.

    Raises:
        TrainerError: there is none, or it is not whole.
    """
    known = [folder / name for name in FILES if (folder / name).is_file()]
    for file in known or sorted(folder.glob("*.safetensors")):
        if is_whole_safetensors(file):
            return file
    raise TrainerError(f"diffusion-pipe left no whole LoRA in {folder.name}. Its log says more.")


def take(folder: Path, output: Path, name: str, epoch: int | None, steps: int | None) -> ProducedFile:
    """Move the LoRA out of a folder into the output folder, and remove the folder.

    `epoch` is None for the last LoRA, which bears no number.

    Raises:
        TrainerError: there is no whole LoRA in the folder.
    """
    file = lora_in(folder)
    output.mkdir(parents=True, exist_ok=True)
    target = output / (f"{name}.safetensors" if epoch is None else f"{name}-{epoch:06d}.safetensors")
    made = ProducedFile(
        kind="checkpoint", path=target, size=file.stat().st_size, epoch=epoch, step=steps, made=time.time()
    )
    file.replace(target)
    shutil.rmtree(folder, ignore_errors=True)
    return made
