"""A converted file in diffusers' own pipeline: it changes the picture, and computes what was trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musabi.lora.convert import to_comfyui
from musabi.recipes import load
from musabi.recipes.lora_models import lora_model

MODEL = lora_model(load("z-image"))


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of the small model whose factors are random numbers, in bf16, with musubi-tuner's keys."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for layer in range(3):
        for part, rows, columns in (
            ("attention_to_q", 64, 64),
            ("attention_to_out_0", 64, 64),
            ("feed_forward_w2", 64, 170),
        ):
            name = f"lora_unet_layers_{layer}_{part}"
            tensors[f"{name}.alpha"] = torch.tensor(2.0, dtype=torch.bfloat16)
            tensors[f"{name}.lora_down.weight"] = torch.randn(4, columns, generator=generator).to(
                torch.bfloat16
            )
            tensors[f"{name}.lora_up.weight"] = torch.randn(rows, 4, generator=generator).to(torch.bfloat16)
    path = tmp_path_factory.mktemp("lora") / "native.safetensors"
    save_file(tensors, path, {"ss_network_dim": "4", "modelspec.title": "native"})
    return path


def test_the_converted_file_loads_in_the_pipeline_and_changes_the_picture(
    native: Path, models: Any, tmp_path: Path
) -> None:
    import numpy
    import torch

    from musabi.engines.diffusers import loading, rendering
    from musabi.job.prompt import Prompt

    to_comfyui(native, tmp_path / "converted.safetensors", MODEL)
    cpu = torch.device("cpu")
    embedded = rendering.embed([Prompt("a circle", 64, 64, 1, 2, 1.0)], models.text_encoder, cpu)[0]
    pipeline = rendering.make_pipeline(
        loading.load_transformer(models.dit, cpu, torch.float32), loading.load_vae(models.vae, cpu)
    )
    plain = numpy.asarray(rendering.render(pipeline, embedded, 1), dtype=int)
    pipeline.load_lora_weights(str(tmp_path), weight_name="converted.safetensors")
    changed = numpy.asarray(rendering.render(pipeline, embedded, 1), dtype=int)
    assert plain.shape == (64, 64, 3)
    assert abs(plain - changed).mean() > 1


def test_the_converted_lora_computes_what_was_trained(
    run_training: Callable[..., Any], models: Any, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    from musabi.engines.diffusers import loading
    from musabi.engines.diffusers.lora import Network
    from musabi.engines.diffusers.rendering import make_pipeline

    run_training(tmp_path, "--max_train_epochs", 3, "--learning_rate", 0.05, optimizer="adamw")
    cpu = torch.device("cpu")
    trained, loaded = (loading.load_transformer(models.dit, cpu, torch.float32) for _ in range(2))
    Network(trained, 4, 2.0, 0).load(load_file(tmp_path / "lora.safetensors"))
    pipeline = make_pipeline(loaded, loading.load_vae(models.vae, cpu))
    converted = to_comfyui(tmp_path / "lora.safetensors", tmp_path / "comfyui.safetensors", MODEL).path
    pipeline.load_lora_weights(load_file(converted))
    torch.manual_seed(3)
    given = ([torch.randn(16, 1, 8, 8)], torch.tensor([0.4]), [torch.randn(9, 64)])
    with torch.no_grad():
        one, other = (model(*given, return_dict=False)[0][0] for model in (trained, loaded))
        plain = loading.load_transformer(models.dit, cpu, torch.float32)(*given, return_dict=False)[0][0]
    assert (one - other).abs().max() < 0.01 * (one - plain).abs().max()
    assert (one - plain).abs().max() > 0.01
