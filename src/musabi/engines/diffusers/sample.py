"""Renders a prompt file: `python -m musabi.engines.diffusers.sample --help`."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from musabi.engines.diffusers.process import Arguments, Progress, run

PHASE: Final = "sample"


def arguments() -> Arguments:
    """Return the parser; names are those of musubi-tuner's sampler."""
    parser = Arguments("sample", "Render a file of prompts, with a LoRA or without.")
    parser.add_argument("--dit", type=Path, required=True)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--text_encoder", type=Path, required=True)
    parser.add_argument("--from_file", type=Path, required=True, help="one prompt a line")
    parser.add_argument("--lora_weight", type=Path, help="as it was trained, or converted")
    parser.add_argument("--lora_multiplier", type=float, default=1.0)
    parser.add_argument("--save_path", type=Path, required=True, help="the folder for the pictures")
    parser.add_argument("--output_name", default="sample", help="how the pictures' names begin")
    parser.add_argument("--device", help="a torch device; the GPU where there is one")
    return parser


def main(argv: Sequence[str]) -> int:
    """Render every prompt of the file."""
    args = arguments().read(argv)
    from musabi.dataset.prompts import read_prompts
    from musabi.engines.diffusers import loading, rendering

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
        picture = rendering.render(pipeline, each, seed)
        path = rendering.save_picture(picture, args.save_path, f"{args.output_name}_{index:02d}", seed)
        progress.advance(kind="sample", file=str(path))
    return 0


def _read_lora(path: Path) -> dict[str, object]:
    """Return the LoRA under diffusers' keys; a file as it was trained is converted in memory.

    Raises:
        RequestError: it is no LoRA.
    """
    from safetensors.torch import load_file

    from musabi.engines.diffusers import convert
    from musabi.whole import safetensors_header

    header = safetensors_header(path)
    names = header[1] if header else {}
    if any(name.startswith(f"{convert.COMFY}.") for name in names):
        return dict(load_file(path))
    convert.require_lora(path)
    return convert.convert(load_file(path))


if __name__ == "__main__":
    run(PHASE, main)
