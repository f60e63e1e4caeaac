"""Rectified flow as musubi-tuner trains Z-Image (v0.3.4, trainer_base.py and zimage_train_network.py).

Time 0 is the clean picture, time 1 is noise. The model is given 1 - time, and it predicts clean - noise,
the opposite of most flow models.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Z-Image's VAE: what makes its latents about normal.
LATENT_SHIFT, LATENT_SCALE = 0.1159, 0.3611

# musubi-tuner adds 1 to its timesteps (0 to 1000), so the model sees times that are this much later.
TIME_OFFSET = 1 / 1000


def scaled(latents: Tensor) -> Tensor:
    """Return the model's latents for the VAE's (raw means), any shape."""
    return (latents - LATENT_SHIFT) * LATENT_SCALE


def draw(
    shape: Sequence[int], generator: torch.Generator, shift: float = 2.0, sigmoid_scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Draw (noise of `shape` [B, C, h, w], times [B]) on the CPU, in fp32.

    Times are musubi-tuner's `--timestep_sampling shift`: a logistic of a normal draw, shifted towards
    noise by t -> shift t / (1 + (shift - 1) t).
    """
    noise = torch.randn(tuple(shape), generator=generator)
    return noise, shifted(torch.randn(shape[0], generator=generator) * sigmoid_scale, shift)


def shifted(logits: Tensor, shift: float) -> Tensor:
    """Return times in 0..1 for draws in logit space."""
    times = torch.sigmoid(logits)
    return times * shift / (1 + (shift - 1) * times)


def loss(model: Any, clean: Tensor, noise: Tensor, times: Tensor, embeds: Sequence[Tensor]) -> Tensor:  # noqa: ANN401
    """Return the mean squared error of the prediction, a scalar (`--weighting_scheme none`).

    `clean` and `noise` are [B, 16, h, w] (scaled latents), `times` [B], `embeds` one [tokens, dim] each;
    all on the model's device. The error is taken in fp32.
    """
    mix = times.view(-1, 1, 1, 1)
    noisy = ((1 - mix) * clean + mix * noise).to(model.dtype).unsqueeze(2)
    seen = (1 - times - TIME_OFFSET).to(model.dtype)
    predicted = model(list(noisy.unbind(0)), seen, [e.to(model.dtype) for e in embeds], return_dict=False)[0]
    return torch.nn.functional.mse_loss(torch.stack(predicted).squeeze(2).float(), clean - noise)
