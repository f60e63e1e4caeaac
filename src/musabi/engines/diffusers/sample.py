"""Renders a prompt file, or decodes kept latents: `python -m musabi.engines.diffusers.sample --help`."""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from musabi.engines.diffusers.process import Arguments, Progress, run
from musabi.errors import RequestError

PHASE: Final = "sample"
MODEL: Final = "z-image"


def arguments() -> Arguments:
    """Return the parser; names are those of musubi-tuner's sampler."""
    parser = Arguments("sample", "Render a file of prompts, with a LoRA or without, or decode kept latents.")
    parser.add_argument("--dit", type=Path)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--text_encoder", type=Path)
    parser.add_argument("--from_file", type=Path, help="one prompt a line")
    parser.add_argument("--latent_path", type=Path, nargs="+", help="latents to decode; nothing is rendered")
    parser.add_argument("--output_type", choices=("images", "latent"), default="images")
    parser.add_argument("--lora_weight", type=Path, help="as it was trained, or converted")
    parser.add_argument("--lora_multiplier", type=float, default=1.0)
    parser.add_argument("--save_path", type=Path, required=True, help="the folder for the pictures")
    parser.add_argument("--output_name", default="sample", help="how the pictures' names begin")
    parser.add_argument("--device", help="a torch device; the GPU where there is one")
    return parser


def main(argv: Sequence[str]) -> int:
    """Render every prompt of the file, or decode every file of latents."""
    args = arguments().read(argv)
    if args.latent_path:
        _decode(args)
        return 0
    for name in ("dit", "text_encoder", "from_file"):
        if getattr(args, name) is None:
            raise RequestError(f"--{name} is missing. Name it, or latents to decode with --latent_path.")
    _render(args)
    return 0


def _render(args: argparse.Namespace) -> None:
    from musabi.dataset.prompts import read_prompts
    from musabi.engines.diffusers import kept_latents, loading, rendering

    prompts = read_prompts(args.from_file)
    adapter = _read_lora(args.lora_weight) if args.lora_weight else None
    device = loading.device_for(args.device)
    embedded = rendering.embed(prompts, args.text_encoder, device)
    transformer = loading.load_transformer(args.dit, device, loading.dtype_for(device))
    pipeline = rendering.make_pipeline(transformer, loading.load_vae(args.vae, device))
    if adapter is not None:
        pipeline.load_lora_weights(adapter, adapter_name="lora")
        pipeline.set_adapters(["lora"], [args.lora_multiplier])
    progress = Progress(PHASE, len(prompts))
    for index, each in enumerate(embedded):
        seed = random.SystemRandom().getrandbits(32) if each[0].seed is None else each[0].seed
        stem = f"{args.output_name}_{index:02d}"
        if args.output_type == "latent":
            latents = rendering.denoise(pipeline, each, seed)
            path = kept_latents.save(latents, args.save_path, stem, each[0], seed)
        else:
            path = rendering.save_picture(rendering.render(pipeline, each, seed), args.save_path, stem, seed)
        progress.advance(kind="sample", file=str(path))


def _decode(args: argparse.Namespace) -> None:
    """Decode the files; each picture is named after its latents."""
    from musabi.engines.diffusers import kept_latents, loading, rendering

    device = loading.device_for(args.device)
    vae = loading.load_vae(args.vae, device)
    kept = [kept_latents.read(path, vae.config.latent_channels) for path in args.latent_path]
    progress = Progress(PHASE, len(kept))
    for file, latents in zip(args.latent_path, kept, strict=True):
        picture = kept_latents.decode(vae, latents)
        path = rendering.save_picture(picture, args.save_path, f"{file.stem}_00")
        progress.advance(kind="sample", file=str(path))


def _read_lora(path: Path) -> dict[str, object]:
    """Return the LoRA under diffusers' keys, which are ComfyUI's; a file as it was trained is converted first.

    Raises:
        RequestError: it is no LoRA of Z-Image.
    """
    from tempfile import TemporaryDirectory

    from safetensors.torch import load_file

    from musabi.lora.adapter import read_adapter
    from musabi.lora.convert import to_comfyui
    from musabi.recipes import load
    from musabi.recipes.lora_models import lora_model

    if read_adapter(path).form == "dotted":
        return dict(load_file(path))
    with TemporaryDirectory() as folder:
        return dict(load_file(to_comfyui(path, Path(folder) / path.name, lora_model(load(MODEL))).path))


if __name__ == "__main__":
    run(PHASE, main)
