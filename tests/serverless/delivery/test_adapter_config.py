"""adapter_config.json says what the file holds: rank, alpha and modules, whoever trained it."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from musabi.errors import RequestError
from musabi.serverless.delivery.adapter_config import adapter_config

SHAPES = {"lora_A.weight": (8, 16), "lora_B.weight": (16, 8)}


def lora(path: Path, tensors: dict[str, tuple[int, ...]], alphas: dict[str, float] | None = None) -> Path:
    made = {name: np.ones(shape, np.float32) for name, shape in tensors.items()}
    save_file(made | {name: np.array(value, np.float32) for name, value in (alphas or {}).items()}, path)
    return path


def test_what_comfyui_loads_is_told_as_peft_does(tmp_path: Path) -> None:
    names = [f"diffusion_model.layers.{n}.attention.{part}" for n in (0, 1) for part in ("to_q", "to_out.0")]
    path = lora(
        tmp_path / "a.safetensors", {f"{n}.{end}": shape for n in names for end, shape in SHAPES.items()}
    )
    assert adapter_config(path, "org/base") == {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": "org/base",
        "inference_mode": True,
        "r": 8,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["attention.to_out.0", "attention.to_q"],
        "rank_pattern": {},
        "alpha_pattern": {},
    }


def test_a_file_with_a_trainers_names_and_alphas_is_read_too(tmp_path: Path) -> None:
    """As kohya's trainers and diffusion-pipe's SDXL write it: several prefixes in one file."""
    names = {
        "lora_unet_down_blocks_1_attn_to_q": 8,
        "lora_te1_text_model_fc1": 8,
        "lora_te2_text_model_fc2": 4,
    }
    tensors = {}
    for name, rank in names.items():
        tensors |= {f"{name}.lora_down.weight": (rank, 16), f"{name}.lora_up.weight": (16, rank)}
    path = lora(tmp_path / "a.safetensors", tensors, {f"{name}.alpha": 4.5 for name in names})
    config = adapter_config(path, None)
    assert (config["r"], config["lora_alpha"], config["rank_pattern"]) == (8, 4.5, {"text_model_fc2": 4})
    assert config["target_modules"] == ["down_blocks_1_attn_to_q", "text_model_fc1", "text_model_fc2"]
    assert config["base_model_name_or_path"] is None


@pytest.mark.parametrize(
    ("parts", "kind", "rank"),
    [
        ({"hada_w1_a": (16, 4), "hada_w1_b": (4, 16), "hada_w2_a": (16, 4), "hada_w2_b": (4, 16)}, "LOHA", 4),
        ({"lokr_w1": (4, 4), "lokr_w2": (4, 4)}, "LOKR", None),
        ({"lokr_w1": (4, 4), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 4)}, "LOKR", 2),
    ],
)
def test_other_kinds_are_named(
    parts: dict[str, tuple[int, ...]], kind: str, rank: int | None, tmp_path: Path
) -> None:
    name = "lora_unet_layers_0_attention_to_q"
    path = lora(tmp_path / "a.safetensors", {f"{name}.{part}": shape for part, shape in parts.items()})
    config = adapter_config(path, None)
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == (kind, rank, rank)


def test_a_file_without_a_lora_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="holds no LoRA"):
        adapter_config(lora(tmp_path / "a.safetensors", {"model.weight": (2, 2)}), None)
    with pytest.raises(RequestError, match="is not there"):
        adapter_config(tmp_path / "b.safetensors", None)
