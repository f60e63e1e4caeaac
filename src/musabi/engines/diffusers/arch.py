"""The models' configurations: Z-Image's own as shipped data, the sizes read from the weight files.

Sizes come from tensor shapes, so that a small model in the same layout loads like the real one. What
shapes can't tell comes from zimage.json (values of Tongyi-MAI/Z-Image) or from the file's metadata.
"""

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from musabi.engines.diffusers.weights import Shapes, WeightFiles
from musabi.errors import RequestError

Config = dict[str, Any]

TOKENIZER_REPO = "Tongyi-MAI/Z-Image"
"""Where Z-Image's tokenizer is, in the folder tokenizer/ (musubi-tuner names the same)."""

# Shares of a head's width that the three RoPE axes (time, height, width) get: 32, 48 and 48 of 128.
ROPE_SHARES = (32, 48, 48)


@cache
def _shipped() -> dict[str, Config]:
    text = files("musabi.engines.diffusers").joinpath("zimage.json").read_text(encoding="utf-8")
    values: dict[str, Config] = json.loads(text)
    return values


def shipped(part: str) -> Config:
    """Return a copy of Z-Image's own configuration of `part`: transformer, vae, text_encoder, scheduler."""
    return dict(_shipped()[part])


def _count(shapes: Shapes, pattern: str) -> int:
    """Return one more than the highest number that `pattern`'s group matches among the tensor names."""
    numbers = [int(match[1]) for name in shapes if (match := re.match(pattern, name))]
    return max(numbers, default=-1) + 1


def rope_axes(head_dim: int) -> list[int]:
    """Return the widths of the three RoPE axes for a head of `head_dim` channels (a multiple of 16)."""
    return [head_dim * share // sum(ROPE_SHARES) for share in ROPE_SHARES]


def transformer_config(weights: WeightFiles) -> Config:
    """Return the arguments of diffusers' ZImageTransformer2DModel for this file (diffusers' key names).

    Raises:
        RequestError: the file holds no Z-Image transformer.
    """
    shapes = weights.shapes
    try:
        dim = shapes["all_x_embedder.2-1.weight"][0]
        head_dim = shapes["layers.0.attention.norm_q.weight"][0]
        caption = shapes["cap_embedder.1.weight"][1]
    except KeyError as error:
        raise RequestError(
            f"{weights.files[0]} holds no Z-Image transformer: the tensor {error} is not in it. DIT_PATH takes "
            "the first file of Tongyi-MAI/Z-Image's transformer."
        ) from error
    return shipped("transformer") | {
        "dim": dim,
        "n_layers": _count(shapes, r"layers\.(\d+)\."),
        "n_refiner_layers": _count(shapes, r"noise_refiner\.(\d+)\."),
        "n_heads": dim // head_dim,
        "n_kv_heads": dim // head_dim,
        "cap_feat_dim": caption,
        "axes_dims": rope_axes(head_dim),
    }


def vae_config(weights: WeightFiles) -> Config:
    """Return the arguments of diffusers' AutoencoderKL for this file (original key names, `encoder.down.0...`).

    Raises:
        RequestError: the file holds no VAE in that layout with 16 latent channels.
    """
    shapes = weights.shapes
    blocks = _count(shapes, r"encoder\.down\.(\d+)\.")
    latents = shapes.get("decoder.conv_in.weight", (0, 0))[1]
    if not blocks or latents != shipped("vae")["latent_channels"]:
        raise RequestError(
            f"{weights.files[0]} holds no Z-Image VAE (16 latent channels, keys like encoder.down.0.block.0...). "
            "VAE_PATH takes ae.safetensors of Comfy-Org/z_image_turbo."
        )
    widths = [shapes[f"encoder.down.{i}.block.0.conv1.weight"][0] for i in range(blocks)]
    return shipped("vae") | {
        "down_block_types": ["DownEncoderBlock2D"] * blocks,
        "up_block_types": ["UpDecoderBlock2D"] * blocks,
        "block_out_channels": widths,
        "layers_per_block": _count(shapes, r"encoder\.down\.0\.block\.(\d+)\."),
        "norm_num_groups": int(weights.metadata.get("norm_num_groups", shipped("vae")["norm_num_groups"])),
    }


def text_encoder_config(weights: WeightFiles) -> Config:
    """Return the arguments of transformers' Qwen3Config for this file (keys with `model.` in front).

    Raises:
        RequestError: the file holds no Qwen3 model.
    """
    shapes = weights.shapes
    layer = "model.layers.0."
    try:
        vocabulary, hidden = shapes["model.embed_tokens.weight"]
        head_dim = shapes[layer + "self_attn.q_norm.weight"][0]
        query = shapes[layer + "self_attn.q_proj.weight"][0]
        key = shapes[layer + "self_attn.k_proj.weight"][0]
        inner = shapes[layer + "mlp.gate_proj.weight"][0]
    except KeyError as error:
        raise RequestError(
            f"{weights.files[0]} holds no Qwen3 text encoder: the tensor {error} is not in it. TEXT_ENCODER_PATH "
            "takes the first file of Tongyi-MAI/Z-Image-Turbo's text_encoder."
        ) from error
    return shipped("text_encoder") | {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": _count(shapes, r"model\.layers\.(\d+)\."),
        "head_dim": head_dim,
        "num_attention_heads": query // head_dim,
        "num_key_value_heads": key // head_dim,
        "intermediate_size": inner,
    }
