"""A small VAE that is solved, not trained: on two cores, gradient descent would take hours.

The encoder becomes a chain of principal components of 2 x 2 windows, the decoder's upsampling
convolutions the least-squares inverse of that chain, and every residual block the identity.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (8, 16, 32, 40)
LATENTS = 16
GROUPS = 1

# From diffusers' names to the original ones, in this order.
ORIGINAL_NAMES = (
    (r"\.down_blocks\.(\d)", r".down.\1"),
    (r"\.up_blocks\.(\d)", lambda match: f".up.{len(WIDTHS) - 1 - int(match[1])}"),
    (r"\.mid_block\.attentions\.0\.group_norm", ".mid.attn_1.norm"),
    (r"\.mid_block\.attentions\.0\.to_([qkv])", r".mid.attn_1.\1"),
    (r"\.mid_block\.attentions\.0\.to_out\.0", ".mid.attn_1.proj_out"),
    (r"\.mid_block\.resnets\.(\d)", lambda match: f".mid.block_{int(match[1]) + 1}"),
    (r"\.resnets\.(\d)", r".block.\1"),
    (r"\.conv_shortcut", ".nin_shortcut"),
    (r"\.downsamplers\.0", ".downsample"),
    (r"\.upsamplers\.0", ".upsample"),
    (r"\.conv_norm_out", ".norm_out"),
)

# The constant that dominates the last norms, in standard deviations of the signal: it makes them linear.
ANCHOR = 20.0

# The mean and spread of latents that Z-Image's scale (0.3611) and shift (0.1159) turn into 0 and 1.
LATENT_MEAN, LATENT_SPREAD = 0.1159, 1 / 0.3611


def solve_vae(pictures: Tensor) -> tuple[Any, Tensor]:
    """Return (diffusers' AutoencoderKL, latents) solved for `pictures` ([N, 3, H, W] in -1..1)."""
    vae = _new_vae()
    with torch.no_grad():
        levels = _solve_encoder(vae, pictures)
        latents = vae.encode(pictures).latent_dist.mode()
        some = slice(None, None, 3)  # the decoder has fewer unknowns for each pixel
        _solve_decoder(vae, latents[some], [level[some] for level in levels])
    return vae, latents


def original_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return diffusers' VAE tensors under the original names, which ComfyUI's ae.safetensors has."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in ORIGINAL_NAMES:
            name = re.sub(pattern, replacement, name)
        is_projection = ".mid.attn_1." in name and name.endswith(".weight") and tensor.ndim == 2
        renamed[name] = tensor[:, :, None, None].contiguous() if is_projection else tensor.contiguous()
    return renamed


def _new_vae() -> Any:  # noqa: ANN401 - diffusers.AutoencoderKL
    """Return diffusers' AutoencoderKL of the small widths, residual blocks and attention as identity."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        block_out_channels=WIDTHS,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        latent_channels=LATENTS,
        norm_num_groups=GROUPS,
        scaling_factor=1 / LATENT_SPREAD,
        shift_factor=LATENT_MEAN,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    for name, module in vae.named_modules():
        if name.endswith((".conv2", ".to_out.0")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        elif name.endswith(".conv_shortcut"):
            _pass_through(module)
    return vae


def _pass_through(conv: nn.Conv2d) -> None:
    """Make a convolution hand its first channels on unchanged and add nothing."""
    with torch.no_grad():
        conv.weight.zero_()
        conv.bias.zero_()
        middle = conv.kernel_size[0] // 2
        for channel in range(min(conv.in_channels, conv.out_channels)):
            conv.weight[channel, channel, middle, middle] = 1.0


def _linear_ending(norm: nn.GroupNorm, feed: nn.Conv2d, ending: nn.Conv2d, count: int, spread: float) -> None:
    """Make `feed` -> norm -> SiLU -> `ending` hand `count` channels on linearly.

    `feed` gives each channel x twice, as x and -x, because silu(x) - silu(-x) = x; its other channels hold
    a large constant, so that the norm divides by nearly the same number whatever the picture.
    """
    anchor = ANCHOR * spread
    rest = feed.out_channels - 2 * count
    scale = (anchor**2 * rest / feed.out_channels) ** 0.5
    with torch.no_grad():
        feed.weight[count : 2 * count] = -feed.weight[:count]
        feed.bias[count : 2 * count] = -feed.bias[:count]
        feed.weight[2 * count :] = 0.0
        signs = torch.tensor([1.0, -1.0]).repeat(rest)[:rest]
        feed.bias[2 * count :] = anchor * signs
        norm.weight.fill_(scale)
        norm.bias.zero_()
        ending.weight.zero_()
        ending.bias.zero_()
        middle = ending.kernel_size[0] // 2
        for channel in range(min(count, ending.out_channels)):
            ending.weight[channel, channel, middle, middle] = 1.0
            ending.weight[channel, count + channel, middle, middle] = -1.0


def _solve_encoder(vae: Any, pictures: Tensor) -> list[Tensor]:  # noqa: ANN401
    """Set the encoder to principal components of `pictures` ([N, 3, H, W] in -1..1).

    Returns what the decoder has to win back at each level, finest first: the pictures and the components
    at 1/2 and 1/4 of their size. Afterwards latents have Z-Image's mean and, over all channels, its spread.
    """
    encoder = vae.encoder
    _pass_through(encoder.conv_in)
    levels, features = [pictures], pictures
    for block in encoder.down_blocks[:-1]:
        conv = block.downsamplers[0].conv
        size = features.shape[1]
        windows = functional.unfold(features, 2, stride=2).transpose(1, 2).flatten(0, 1)
        mean = windows.mean(0)
        _, vectors = torch.linalg.eigh((windows - mean).T @ (windows - mean) / len(windows))
        kept = vectors.flip(1)[:, : conv.out_channels].T
        kept = kept * kept.sum(1, keepdim=True).sign()
        with torch.no_grad():
            conv.weight.zero_()
            conv.bias.zero_()
            conv.weight[: len(kept), :size, :2, :2] = kept.reshape(len(kept), size, 2, 2)
            conv.bias[: len(kept)] = -kept @ mean
        features = functional.conv2d(features, conv.weight[:, :size, :2, :2], conv.bias, stride=2)
        levels.append(features)
    latents = features[:, :LATENTS]
    spread = latents.std((0, 2, 3)).sqrt()
    gain = LATENT_SPREAD / (latents / spread[:, None, None]).std()
    last = encoder.down_blocks[-1].resnets[0].conv_shortcut
    _linear_ending(encoder.conv_norm_out, last, encoder.conv_out, LATENTS, float(latents.std()))
    with torch.no_grad():
        encoder.conv_out.weight[:LATENTS] *= (gain / spread)[:, None, None, None]
        encoder.conv_out.bias[:LATENTS] = LATENT_MEAN
        encoder.conv_out.bias[LATENTS:] = -12.0  # the log of the variance: a latent is its mean
    return levels[:-1]


def _solve_decoder(vae: Any, latents: Tensor, levels: list[Tensor]) -> None:  # noqa: ANN401
    """Set the decoder's upsampling convolutions to the least-squares inverse of the encoder's levels."""
    decoder = vae.decoder
    _pass_through(decoder.conv_in)
    features = decoder.conv_in(latents)
    for block, target in zip(decoder.up_blocks[:-1], reversed(levels), strict=True):
        for resnet in block.resnets:
            features = resnet(features, None)
        conv = block.upsamplers[0].conv
        wide = functional.interpolate(features, scale_factor=2.0, mode="nearest")
        inputs = functional.unfold(wide, 3, padding=1).transpose(1, 2).flatten(0, 1)
        inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
        wanted = target.permute(0, 2, 3, 1).flatten(0, 2)
        gram = inputs.T @ inputs + 1e-3 * len(inputs) * torch.eye(inputs.shape[1])
        answer = torch.linalg.solve(gram, inputs.T @ wanted).T
        count = min(conv.out_channels, target.shape[1])
        _pass_through(conv)
        with torch.no_grad():
            conv.weight[:count] = answer[:count, :-1].reshape(count, conv.in_channels, 3, 3)
            conv.bias[:count] = answer[:count, -1]
        features = conv(wide)
    last = decoder.up_blocks[-1].resnets[0].conv_shortcut
    _linear_ending(decoder.conv_norm_out, last, decoder.conv_out, 3, float(levels[0].std()))
