"""Pictures from prompts with diffusers' ZImagePipeline."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musabi.engines.diffusers import arch, encoding, loading
from musabi.job.prompt import Prompt
from musabi.whole import replacing

Embedded = tuple[Prompt, Tensor, Tensor]
"""A prompt with the embeddings ([tokens, dim]) of its text and of what it must not show."""


def embed(prompts: Sequence[Prompt], text_encoder: Path, device: torch.device) -> list[Embedded]:
    """Encode all prompts; the text encoder is loaded for that and let go."""
    tokenizer = loading.load_tokenizer(text_encoder)
    encoder = loading.load_text_encoder(text_encoder, device, loading.dtype_for(device))
    texts = sorted({text for prompt in prompts for text in (prompt.text, prompt.negative)})
    embeddings = {text: encoding.encode(tokenizer, encoder, [text])[0] for text in texts}
    return [(prompt, embeddings[prompt.text], embeddings[prompt.negative]) for prompt in prompts]


def make_pipeline(transformer: Any, vae: Any) -> Any:  # noqa: ANN401
    """Return a ZImagePipeline without a text encoder: it is given embeddings."""
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline

    pipeline = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**arch.shipped("scheduler")),
        vae=vae,
        text_encoder=None,
        tokenizer=None,
        transformer=transformer,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def render(pipeline: Any, embedded: Embedded, seed: int) -> Any:  # noqa: ANN401 - PIL.Image
    """Return the picture of one prompt. Noise is drawn on the CPU, so every device starts from the same."""
    return _run(pipeline, embedded, seed, "pil")


def denoise(pipeline: Any, embedded: Embedded, seed: int) -> Tensor:  # noqa: ANN401
    """Return the latents [channels, height, width] of one prompt, before they are decoded."""
    latents: Tensor = _run(pipeline, embedded, seed, "latent")
    return latents


def _run(pipeline: Any, embedded: Embedded, seed: int, output_type: str) -> Any:  # noqa: ANN401
    from diffusers import FlowMatchEulerDiscreteScheduler

    prompt, wanted, unwanted = embedded
    settings = arch.shipped("scheduler") | {"shift": prompt.flow_shift}
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(**settings)
    dtype = pipeline.transformer.dtype
    guided = prompt.guidance_scale > 1
    with torch.no_grad():
        return pipeline(
            prompt_embeds=[wanted.to(dtype)],
            negative_prompt_embeds=[unwanted.to(dtype)] if guided else [],
            width=prompt.width,
            height=prompt.height,
            num_inference_steps=prompt.steps,
            guidance_scale=prompt.guidance_scale if guided else 0.0,
            generator=torch.Generator().manual_seed(seed),
            output_type=output_type,
        ).images[0]


def save_picture(picture: Any, folder: Path, stem: str, seed: int | None = None) -> Path:  # noqa: ANN401 - PIL.Image
    """Write the picture as `STEM_{time}_{seed}.png` under `folder`, whole or not at all; return its path."""
    end = "" if seed is None else f"_{seed}"
    path = folder / f"{stem}_{time.strftime('%Y%m%d%H%M%S')}{end}.png"
    with replacing(path) as part:
        picture.save(part, format="PNG")
    return path
