"""Small LoRA files with random numbers, for a model's templates; and what they add, worked out the long way."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

INPUTS, OUTPUTS = 12, 18
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
METADATA = {"ss_network_dim": "4", "ss_network_alpha": "2.0", "modelspec.title": "Prüfung"}

Z_IMAGE = (
    *(f"layers.#.attention.to_{part}" for part in ("q", "k", "v", "out.0")),
    *(f"layers.#.feed_forward.w{n}" for n in (1, 2, 3)),
)


def names(templates: Iterable[str], blocks: int = 2) -> list[str]:
    """Return the dotted names of some blocks of a model."""
    found = (template.replace("#", str(n)) for n in range(blocks) for template in templates)
    return list(dict.fromkeys(found))


def native(name: str) -> str:
    return "lora_unet_" + name.replace(".", "_")


def layer(
    kind: str, base: str, seed: int, rank: int = 4, alpha: float | None = 2.0, dtype: str = "f32"
) -> Any:
    """Return the tensors of one layer as the trainer writes them; OUTPUTS x INPUTS is what they add to."""
    generator = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(DTYPES[dtype])

    parts = {
        "lora": lambda: {"lora_down.weight": some(rank, INPUTS), "lora_up.weight": some(OUTPUTS, rank)},
        "loha": lambda: {
            **{f"hada_w{n}_a": some(OUTPUTS, rank) for n in (1, 2)},
            **{f"hada_w{n}_b": some(rank, INPUTS) for n in (1, 2)},
        },
        "lokr": lambda: {"lokr_w1": some(3, 3), "lokr_w2_a": some(6, rank), "lokr_w2_b": some(rank, 4)},
        "lokr-full": lambda: {"lokr_w1": some(3, 3), "lokr_w2": some(6, 4)},
    }[kind]()
    made = {f"{base}.{part}": value for part, value in parts.items()}
    if alpha is not None:
        made[f"{base}.alpha"] = torch.tensor(alpha).to(DTYPES[dtype])
    return made


def write(
    path: Path,
    modules: Iterable[str],
    kind: str | tuple[str, ...] = "lora",
    *,
    seed: int = 0,
    metadata: dict[str, str] | None = METADATA,
    **more: Any,
) -> Path:
    """Write a file with the trainer's keys for these dotted names, of one kind or of several in turn."""
    kinds = (kind,) if isinstance(kind, str) else kind
    tensors: dict[str, torch.Tensor] = {}
    for n, name in enumerate(modules):
        tensors |= layer(kinds[n % len(kinds)], native(name), seed * 1000 + n, **more)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata)
    return path


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def deltas(path: Path) -> dict[str, Any]:
    """Return what a file adds to each layer, in float64, by its keys without their ending."""
    tensors = {key: value.double().numpy() for key, value in load_file(path).items()}
    bases = {_base(key) for key in tensors}
    return {base: delta(tensors, base) for base in bases}


def delta(tensors: dict[str, Any], base: str) -> Any:
    """Return what one layer adds, as the definitions of LoRA, LoHa and LoKr say it."""

    def get(*endings: str) -> Any:
        return next(
            (tensors[f"{base}.{ending}"] for ending in endings if f"{base}.{ending}" in tensors), None
        )

    alpha = get("alpha")
    down, up = get("lora_down.weight", "lora_A.weight"), get("lora_up.weight", "lora_B.weight")
    if down is not None:
        return up @ down * (1 if alpha is None else alpha / down.shape[0])
    if get("hada_w1_a") is not None:
        product = (get("hada_w1_a") @ get("hada_w1_b")) * (get("hada_w2_a") @ get("hada_w2_b"))
        return product * (1 if alpha is None else alpha / get("hada_w1_b").shape[0])
    if get("lokr_w2") is not None:
        return np.kron(get("lokr_w1"), get("lokr_w2"))
    product = np.kron(get("lokr_w1"), get("lokr_w2_a") @ get("lokr_w2_b"))
    return product * (1 if alpha is None else alpha / get("lokr_w2_b").shape[0])


def _base(key: str) -> str:
    for ending in (".weight", ".lora_A", ".lora_B", ".lora_down", ".lora_up", ".alpha"):
        key = key.removesuffix(ending)
    return key.rpartition(".")[0] if key.rpartition(".")[2].startswith(("hada_", "lokr_")) else key
