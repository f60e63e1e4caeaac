"""Latents that are kept in files, to be decoded later: as musubi-tuner's Z-Image sampler writes and reads them."""

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musabi.errors import RequestError
from musabi.job.prompt import Prompt
from musabi.whole import is_whole_safetensors, replacing

KEY = "latent"


def save(latents: Tensor, folder: Path, stem: str, prompt: Prompt, seed: int) -> Path:
    """Write latents [channels, height, width], as the model makes them, with what they show; return the file."""
    from safetensors.torch import save_file

    told = {
        "seeds": str(seed),
        "prompt": prompt.text,
        "negative_prompt": prompt.negative,
        "width": str(prompt.width),
        "height": str(prompt.height),
        "infer_steps": str(prompt.steps),
        "guidance_scale": str(prompt.guidance_scale),
    }
    path = folder / f"{stem}_{time.strftime('%Y%m%d%H%M%S')}_{seed}_latent.safetensors"
    with replacing(path) as part:
        save_file({KEY: latents.contiguous().cpu()}, part, told)
    return path


def read(path: Path, channels: int) -> Tensor:
    """Return the latents of a file, [channels, height, width].

    Raises:
        RequestError: the file holds no latents that a VAE of so many channels decodes.
    """
    from safetensors.torch import load_file

    if not is_whole_safetensors(path):
        raise RequestError(f"{path} is not there, is cut off or is no safetensors file.")
    latents = load_file(path).get(KEY)
    if latents is not None and latents.ndim == 4 and latents.shape[0] == 1:
        latents = latents[0]
    if latents is None or latents.ndim != 3 or latents.shape[0] != channels:
        raise RequestError(
            f"{path} holds no latents of this model. Name a file that musabi sample --keep-latents made."
        )
    return latents


def decode(vae: Any, latents: Tensor) -> Any:  # noqa: ANN401 - the VAE, PIL.Image
    """Return the picture that latents [channels, height, width] show."""
    from diffusers.image_processor import VaeImageProcessor

    scaled = latents[None].to(vae.device, vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
    with torch.no_grad():
        pixels = vae.decode(scaled, return_dict=False)[0]
    return VaeImageProcessor().postprocess(pixels, output_type="pil")[0]
