"""Writes a LoRA with ComfyUI's (diffusers') keys: `python -m musabi.engines.diffusers.convert --help`.

As musubi-tuner's `convert_lora.py --target other` (v0.3.4): alpha / rank is folded into both factors as
its square root, the tensors' dtype and the metadata stay.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from musabi.engines.diffusers.process import Arguments, run
from musabi.errors import RequestError
from musabi.whole import is_whole_safetensors, replacing, safetensors_header

PHASE: Final = "convert"
NATIVE, COMFY = "lora_unet_", "diffusion_model"
FACTORS = {"lora_down.weight": ("lora_A.weight", 0), "lora_up.weight": ("lora_B.weight", 1)}

# Module names of Z-Image that have an underscore of their own, as they look after all became dots.
UNDERSCORES = (
    ("to.q", "to_q"),
    ("to.k", "to_k"),
    ("to.v", "to_v"),
    ("to.out", "to_out"),
    ("feed.forward", "feed_forward"),
    ("noise.refiner", "noise_refiner"),
    ("context.refiner", "context_refiner"),
)


def arguments() -> Arguments:
    """Return the parser."""
    parser = Arguments("convert", "Convert a LoRA's keys for ComfyUI and diffusers.")
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--target", choices=("other",), default="other", help="the only one: ComfyUI's keys")
    return parser


def main(argv: Sequence[str]) -> int:
    """Convert one file."""
    args = arguments().read(argv)
    metadata = require_lora(args.input)
    from safetensors.torch import load_file, save

    data = save(convert(load_file(args.input)), metadata or None)
    with replacing(args.output) as part:
        part.write_bytes(data)
    return 0


def require_lora(path: Path) -> dict[str, str]:
    """Return the metadata of a LoRA file with musubi-tuner's keys.

    Raises:
        RequestError: it is not there, cut short, no LoRA, or converted already.
    """
    header = safetensors_header(path) if path.is_file() else None
    if header is None:
        missing = "is not a safetensors file" if path.exists() else "is not there"
        raise RequestError(f"{path} {missing}. Name a LoRA as it was trained: output/NAME.safetensors.")
    if not is_whole_safetensors(path):
        raise RequestError(f"{path} is cut short. Copy it again.")
    entries = dict(header[1])
    metadata: dict[str, str] = entries.pop("__metadata__", {})
    if any(name.startswith(f"{COMFY}.") and ".lora_A." in name for name in entries):
        raise RequestError(f"{path} has ComfyUI's keys already. It can be used there as it is.")
    if not any(name.startswith(NATIVE) and name.endswith(".lora_down.weight") for name in entries):
        raise RequestError(f"{path} is no LoRA of Z-Image: it has no lora_unet_... keys.")
    return metadata


def convert(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return LoRA tensors under ComfyUI's keys, in the order and dtype of `tensors`, alphas folded in."""
    found = {}
    for key, weight in tensors.items():
        module, _, part = key.partition(".")
        if part not in FACTORS:
            continue
        name, rank_axis = FACTORS[part]
        alpha = tensors.get(f"{module}.alpha")
        scaled = weight if alpha is None else weight * (alpha / weight.shape[rank_axis]).sqrt()
        found[f"{COMFY}.{module_path(module)}.{name}"] = scaled
    return found


def module_path(name: str) -> str:
    """Return the module's dotted path in the model: lora_unet_layers_0_attention_to_q -> layers.0.attention.to_q."""
    path = name.removeprefix(NATIVE).replace("_", ".")
    for dotted, underscored in UNDERSCORES:
        path = path.replace(dotted, underscored)
    return path


if __name__ == "__main__":
    run(PHASE, main)
