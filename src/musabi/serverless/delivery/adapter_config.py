"""adapter_config.json of a LoRA, told from its file: what PEFT, and clients of the original API, look for."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from musabi.errors import RequestError
from musabi.lora.adapter import ALPHA, PARTS, PREFIXES
from musabi.lora.tensor_file import TensorFile, read_header

PEFT_TYPES: Final = {"down": "LORA", "hada_w1_b": "LOHA", "lokr_w1": "LOKR", "lokr_w1_b": "LOKR"}
"""By the part that tells the kind: PEFT's name of it (peft/utils/peft_types.py)."""
RANK_OF: Final = ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")
"""Parts whose rows are the rank."""
TRAINERS: Final = ("lora_unet_", "lora_te1_", "lora_te2_", "lora_te_", "lora_transformer_")
"""What layers' names begin with where a trainer writes underscores for dots."""


@dataclass(frozen=True)
class Layer:
    """One trained layer: its name without prefix, its kind, its rank and alpha (None where there is none)."""

    name: str
    kind: str
    rank: int | None
    alpha: float | None

    @property
    def effective_alpha(self) -> float | None:
        """What rank x scale is: a layer without alpha is not scaled."""
        return self.alpha if self.alpha is not None else self.rank


def read_layers(path: Path) -> tuple[Layer, ...]:
    """Return the layers of a LoRA file in the order of their names.

    Raises:
        RequestError: the file can't be read, or holds no LoRA.
    """
    file = read_header(path)
    grouped: dict[str, dict[str, str]] = {}
    for key in sorted(file.entries):
        ending = next((one for one in PARTS if key.endswith(f".{one}")), None)
        if ending is not None:
            grouped.setdefault(key.removesuffix(f".{ending}"), {})[PARTS[ending]] = key
    found = [_layer(file, name, keys) for name, keys in grouped.items() if keys.keys() != {ALPHA}]
    if not found:
        raise RequestError(f"{path} holds no LoRA that is known here.")
    return tuple(found)


def adapter_config(path: Path, base_model: str | None) -> dict[str, Any]:
    """Return the values of adapter_config.json for a LoRA file.

    `r` and `lora_alpha` are those of most layers; others stand in rank_pattern and alpha_pattern.

    Raises:
        RequestError: the file can't be read, or holds no LoRA.
    """
    layers = read_layers(path)
    rank = _most([layer.rank for layer in layers])
    alpha = _most([layer.effective_alpha for layer in layers])
    return {
        "peft_type": layers[0].kind,
        "task_type": None,
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": _plain(alpha),
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": targets(layers),
        "rank_pattern": {one.name: one.rank for one in layers if one.rank != rank},
        "alpha_pattern": {
            one.name: _plain(one.effective_alpha) for one in layers if one.effective_alpha != alpha
        },
    }


def targets(layers: tuple[Layer, ...]) -> list[str]:
    """Return the names that PEFT matches layers by: what stands behind the last block's number, each once."""
    return sorted({_target(layer.name) for layer in layers})


def _target(name: str) -> str:
    """Return a name from behind the number of its block: `layers.3.attention.to_out.0` -> `attention.to_out.0`."""
    parts = name.split(".")
    number = next((place for place, part in enumerate(parts) if part.isdigit()), None)
    return name if number is None else ".".join(parts[number + 1 :]) or name


def _layer(file: TensorFile, name: str, keys: dict[str, str]) -> Layer:
    kind = next((kind for part, kind in PEFT_TYPES.items() if part in keys), "LORA")
    rank = next((file.entries[keys[part]].shape[0] for part in RANK_OF if part in keys), None)
    prefix = next((one for one in (*TRAINERS, *PREFIXES) if name.startswith(one)), "")
    return Layer(name.removeprefix(prefix), kind, rank, _alpha(file, keys.get(ALPHA)))


def _alpha(file: TensorFile, key: str | None) -> float | None:
    if key is None:
        return None
    from musabi.lora.arrays import Reader

    with Reader(file) as reader:
        return float(reader.floats(key).reshape(-1)[0])


def _most(values: list[Any]) -> Any:  # noqa: ANN401 - whatever is counted
    return Counter(values).most_common(1)[0][0]


def _plain(value: float | None) -> float | int | None:
    return int(value) if value is not None and value == int(value) else value
