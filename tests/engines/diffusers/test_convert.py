"""The converted file: ComfyUI's keys, alphas folded in, and an effect on pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musabi.engines.diffusers import convert
from musabi.errors import RequestError


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


def test_keys_become_comfyuis_and_metadata_and_dtype_stay(
    native: Path, tmp_path: Path, run_child: Callable[..., Any]
) -> None:
    from safetensors import safe_open

    done = run_child(convert.main, "--input", native, "--output", tmp_path / "comfyui/out.safetensors")
    assert done.code == 0 and (tmp_path / "comfyui/out.safetensors").is_file()
    with safe_open(tmp_path / "comfyui/out.safetensors", "pt") as file:
        names = set(file.keys())
        assert {str(file.get_tensor(name).dtype) for name in names} == {"torch.bfloat16"}
        assert file.metadata() == {"ss_network_dim": "4", "modelspec.title": "native"}
    assert names == {
        f"diffusion_model.layers.{layer}.{part}.{factor}.weight"
        for layer in range(3)
        for part in ("attention.to_q", "attention.to_out.0", "feed_forward.w2")
        for factor in ("lora_A", "lora_B")
    }


def test_alpha_is_folded_into_both_factors(native: Path) -> None:
    import torch
    from safetensors.torch import load_file

    before = load_file(native)
    after = convert.convert(before)
    name = "lora_unet_layers_1_feed_forward_w2"
    scale = torch.tensor(2.0, dtype=torch.bfloat16).div(4).sqrt()
    wanted = before[f"{name}.lora_down.weight"] * scale
    assert torch.equal(after["diffusion_model.layers.1.feed_forward.w2.lora_A.weight"], wanted)
    product = before[f"{name}.lora_up.weight"].float() @ before[f"{name}.lora_down.weight"].float() * 2 / 4
    found = (
        after["diffusion_model.layers.1.feed_forward.w2.lora_B.weight"].float()
        @ after["diffusion_model.layers.1.feed_forward.w2.lora_A.weight"].float()
    )
    assert torch.allclose(found, product, rtol=0.05, atol=0.05)


def test_the_converted_file_loads_in_the_pipeline_and_changes_the_picture(
    native: Path, models: Any, tmp_path: Path
) -> None:
    import numpy
    import torch
    from safetensors.torch import load_file, save_file

    from musabi.dataset.prompts import Prompt
    from musabi.engines.diffusers import loading, rendering

    save_file(convert.convert(load_file(native)), tmp_path / "converted.safetensors")
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
    pipeline.load_lora_weights(convert.convert(load_file(tmp_path / "lora.safetensors")))
    torch.manual_seed(3)
    given = ([torch.randn(16, 1, 8, 8)], torch.tensor([0.4]), [torch.randn(9, 64)])
    with torch.no_grad():
        one, other = (model(*given, return_dict=False)[0][0] for model in (trained, loaded))
        plain = loading.load_transformer(models.dit, cpu, torch.float32)(*given, return_dict=False)[0][0]
    assert (one - other).abs().max() < 0.01 * (one - plain).abs().max()
    assert (one - plain).abs().max() > 0.01


def test_a_file_that_is_no_lora_is_refused_in_a_sentence(models: Any, tmp_path: Path, native: Path) -> None:
    from safetensors.torch import load_file, save_file

    (tmp_path / "text.safetensors").write_text("hello")
    (tmp_path / "short.safetensors").write_bytes(native.read_bytes()[:-10])
    save_file(convert.convert(load_file(native)), tmp_path / "done.safetensors")
    cases = {
        models.vae: "is no LoRA of Z-Image: it has no lora_unet_... keys",
        tmp_path / "gone.safetensors": "is not there",
        tmp_path / "text.safetensors": "is not a safetensors file",
        tmp_path / "short.safetensors": "is cut short",
        tmp_path / "done.safetensors": "has ComfyUI's keys already",
    }
    for path, message in cases.items():
        with pytest.raises(RequestError, match=message):
            convert.main(["--input", str(path), "--output", str(tmp_path / "out.safetensors")])
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("lora_unet_layers_29_attention_to_out_0", "layers.29.attention.to_out.0"),
        ("lora_unet_layers_0_feed_forward_w1", "layers.0.feed_forward.w1"),
        ("lora_unet_noise_refiner_1_attention_to_k", "noise_refiner.1.attention.to_k"),
        ("lora_unet_context_refiner_0_feed_forward_w3", "context_refiner.0.feed_forward.w3"),
    ],
)
def test_module_names_get_their_dots_back(name: str, path: str) -> None:
    assert convert.module_path(name) == path
