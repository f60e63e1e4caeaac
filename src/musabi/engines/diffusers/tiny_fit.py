"""The small model's text encoder and base transformer: drawn at random, the transformer fitted for seconds."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from musabi.engines.diffusers import arch, flow

DIM, LAYERS, REFINERS, HEADS = 64, 3, 1, 2
TEXT = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "intermediate_size": 128,
    "initializer_range": 0.2,  # wide, so that other words give clearly other embeddings
}

LEARNING_RATE = 8e-3
WARMUP = 10


def new_text_encoder(vocabulary: int) -> Any:  # noqa: ANN401 - transformers.Qwen3Model
    """Return transformers' Qwen3Model of the small sizes with random weights."""
    from transformers import Qwen3Config, Qwen3Model

    config = Qwen3Config(**(arch.shipped("text_encoder") | TEXT | {"vocab_size": vocabulary}))
    return Qwen3Model(config).eval().requires_grad_(False)


def new_transformer() -> Any:  # noqa: ANN401 - diffusers.ZImageTransformer2DModel
    """Return diffusers' ZImageTransformer2DModel of the small sizes; its last layer starts at zero."""
    from diffusers import ZImageTransformer2DModel

    sizes = {
        "dim": DIM,
        "n_layers": LAYERS,
        "n_refiner_layers": REFINERS,
        "n_heads": HEADS,
        "n_kv_heads": HEADS,
        "cap_feat_dim": TEXT["hidden_size"],
        "axes_dims": arch.rope_axes(DIM // HEADS),
    }
    model = ZImageTransformer2DModel(**(arch.shipped("transformer") | sizes))
    last = model.all_final_layer["2-1"].linear
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return model


def fit_transformer(
    model: Any,  # noqa: ANN401
    latents: Tensor,
    embeds: Sequence[Tensor],
    steps: int,
    seed: int,
    say: Callable[[int, float], None],
) -> None:
    """Train all of `model` on raw latents [N, 16, h, w] and their caption embeddings ([tokens, dim] each).

    `say` gets the step and its loss. A step takes eight pictures.
    """
    generator = torch.Generator().manual_seed(seed)
    clean_all = flow.scaled(latents)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98))
    model.train()
    for step in range(steps):
        rate = LEARNING_RATE * min(1.0, (step + 1) / WARMUP) * (1 - step / steps) ** 0.7
        for group in optimizer.param_groups:
            group["lr"] = rate
        chosen = torch.randint(len(latents), (8,), generator=generator).tolist()
        clean = clean_all[chosen]
        noise, times = flow.draw(clean.shape, generator)
        loss = flow.loss(model, clean, noise, times, [embeds[i] for i in chosen])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        say(step + 1, float(loss.detach()))
    model.eval()
