"""What a LoRA file is, told from its header alone: whose keys it has, and its rank."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from musabi.errors import RequestError
from musabi.whole import is_whole_safetensors, safetensors_header

Keys = Literal["native", "comfyui"]


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file: `native` keys as musubi-tuner trains them, or `comfyui` keys."""

    path: Path
    keys: Keys
    rank: int
    metadata: dict[str, str]


def read_lora(path: Path) -> LoraFile:
    """Return what the header of a LoRA file says.

    Raises:
        RequestError: the file is not there, is cut off, is no safetensors file, or holds no LoRA.
    """
    if not path.is_file():
        raise RequestError(f"{path} is not there. Name a LoRA file, such as output/NAME.safetensors.")
    header = safetensors_header(path)
    if header is None:
        raise RequestError(f"{path} is no safetensors file, so it can't be a LoRA that musabi reads.")
    if not is_whole_safetensors(path):
        raise RequestError(
            f"{path} is cut off: it holds fewer bytes than its header says. Take another checkpoint."
        )
    for name, entry in header[1].items():
        if name.endswith(".lora_down.weight"):
            return LoraFile(path, "native", int(entry["shape"][0]), header[1].get("__metadata__", {}))
        if name.endswith(".lora_A.weight"):
            return LoraFile(path, "comfyui", int(entry["shape"][0]), header[1].get("__metadata__", {}))
    raise RequestError(f"{path} holds no LoRA: none of its keys ends in lora_down.weight or lora_A.weight.")
