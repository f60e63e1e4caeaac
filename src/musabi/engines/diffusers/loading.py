"""The three models and the tokenizer, loaded from models/ into diffusers' and transformers' own classes.

Imports torch: only child processes of the engine come here.
"""

from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights

from musabi.engines.diffusers import arch
from musabi.engines.diffusers.weights import WeightFiles, open_weights, read_tensors
from musabi.errors import MachineError, RequestError


def device_for(name: str | None) -> torch.device:
    """Return the named device, or the GPU where there is one, else the CPU.

    Raises:
        MachineError: a GPU is named that this torch can't use.
    """
    device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise MachineError(
            f"The GPU can't be used by the torch {torch.__version__} that is installed here. Install a torch build "
            "for its CUDA driver, or name the CPU as the device."
        )
    return device


def dtype_for(device: torch.device) -> torch.dtype:
    """Return what models run in there: bf16 on a GPU, fp32 on a CPU."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def _fill(model: torch.nn.Module, tensors: dict[str, Any], weights: WeightFiles, what: str) -> None:
    """Put `tensors` into a model without storage; every key must be used and every parameter given."""
    try:
        model.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise RequestError(f"The {what} weights {weights.files[0]} don't fit Z-Image: {first}") from error
    model.requires_grad_(False)
    model.eval()


def load_transformer(path: Path, device: torch.device, dtype: torch.dtype) -> Any:  # noqa: ANN401
    """Return diffusers' ZImageTransformer2DModel with the weights of `path`, frozen, in evaluation mode.

    Takes Tongyi-MAI's layout (flat shards or one file) and ComfyUI's single file with fused attention.
    """
    from diffusers import ZImageTransformer2DModel

    weights = open_weights(path, "transformer (DiT)")
    tensors: dict[str, Any] = read_tensors(weights, str(device), dtype)
    if any(name.endswith("attention.qkv.weight") for name in tensors):
        from diffusers.loaders.single_file_utils import convert_z_image_transformer_checkpoint_to_diffusers

        tensors = convert_z_image_transformer_checkpoint_to_diffusers(tensors)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        weights = WeightFiles(weights.files, shapes, weights.metadata)
    config = arch.transformer_config(weights)
    with init_empty_weights(include_buffers=False):
        model = ZImageTransformer2DModel(**config)
    _fill(model, tensors, weights, "transformer (DiT)")
    return model


def load_vae(path: Path, device: torch.device) -> Any:  # noqa: ANN401
    """Return diffusers' AutoencoderKL in fp32 with the weights of `path` (original key names), frozen."""
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    weights = open_weights(path, "VAE")
    config = arch.vae_config(weights)
    tensors = convert_ldm_vae_checkpoint(read_tensors(weights, str(device), torch.float32), config)
    with init_empty_weights(include_buffers=False):
        model = AutoencoderKL(**config)
    _fill(model, tensors, weights, "VAE")
    return model


def load_text_encoder(path: Path, device: torch.device, dtype: torch.dtype) -> Any:  # noqa: ANN401
    """Return transformers' Qwen3Model (without a language head) with the weights of `path`, frozen."""
    from transformers import Qwen3Config, Qwen3Model

    weights = open_weights(path, "text encoder")
    config = Qwen3Config(**arch.text_encoder_config(weights))
    tensors = {
        name.removeprefix("model."): tensor
        for name, tensor in read_tensors(weights, str(device), dtype).items()
        if name.startswith("model.")
    }
    with init_empty_weights(include_buffers=False):
        model = Qwen3Model(config)
    _fill(model, tensors, weights, "text encoder")
    return model.to(device)


def load_tokenizer(text_encoder: Path) -> Any:  # noqa: ANN401
    """Return the tokenizer that belongs to the text encoder at this path.

    A file that names a folder beside it in its metadata (`tokenizer`) has its own; for all others it is
    Z-Image's, from the hub cache (HF_HOME), never from the network.

    Raises:
        RequestError: it is not there.
    """
    from transformers import Qwen2Tokenizer

    own = open_weights(text_encoder, "text encoder").metadata.get("tokenizer")
    try:
        if own is not None:
            return Qwen2Tokenizer.from_pretrained(str(text_encoder.parent / own), local_files_only=True)
        return Qwen2Tokenizer.from_pretrained(
            arch.TOKENIZER_REPO, subfolder="tokenizer", local_files_only=True
        )
    except (OSError, TypeError, ValueError) as error:
        where = (
            str(text_encoder.parent / own) if own else f"the hub cache (HF_HOME) under {arch.TOKENIZER_REPO}"
        )
        raise RequestError(f"The tokenizer is not in {where}. Run: musabi models download") from error
