"""Sampling: pictures under the contract's names, with a LoRA in either form."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musabi.engines.diffusers import sample
from musabi.errors import RequestError

Run = Callable[..., Any]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("# a comment\nohwx robot on a blue background --w 64 --h 64 --s 3 --l 2 --d 11\n")
    return path


def pixels(folder: Path) -> Any:
    import numpy
    from PIL import Image

    (path,) = folder.glob("*.png")
    return numpy.asarray(Image.open(path), dtype=int)


def test_a_lora_changes_the_picture_as_trained_and_as_converted(
    run_child: Run, run_training: Run, models: Any, prompts: Path, tmp_path: Path
) -> None:
    from musabi.lora.convert import to_comfyui
    from musabi.recipes import load
    from musabi.recipes.lora_models import lora_model

    run_training(tmp_path, "--max_train_epochs", 5, "--learning_rate", 0.05, optimizer="adamw")
    native, comfy = tmp_path / "lora.safetensors", tmp_path / "comfyui/lora.safetensors"
    to_comfyui(native, comfy, lora_model(load("z-image")))
    common = [*models.flags, "--from_file", prompts, "--output_name", "lora", "--device", "cpu"]
    run_child(sample.main, *common, "--save_path", tmp_path / "plain")
    run_child(sample.main, *common, "--save_path", tmp_path / "native", "--lora_weight", native)
    run_child(sample.main, *common, "--save_path", tmp_path / "comfy", "--lora_weight", comfy)
    run_child(
        sample.main,
        *common,
        *("--save_path", tmp_path / "off", "--lora_weight", native, "--lora_multiplier", 0),
    )
    plain = pixels(tmp_path / "plain")
    assert abs(pixels(tmp_path / "native") - plain).mean() > 1
    assert abs(pixels(tmp_path / "native") - pixels(tmp_path / "comfy")).max() <= 1
    assert abs(pixels(tmp_path / "off") - plain).max() <= 1


def test_pictures_are_named_after_the_output_the_prompt_the_time_and_the_seed(
    run_child: Run, models: Any, prompts: Path, tmp_path: Path
) -> None:
    import re

    done = run_child(
        sample.main,
        *models.flags,
        *(
            "--from_file",
            prompts,
            "--save_path",
            tmp_path / "out",
            "--output_name",
            "lora",
            "--device",
            "cpu",
        ),
    )
    (path,) = (tmp_path / "out").iterdir()
    assert re.fullmatch(r"lora_00_\d{14}_11\.png", path.name)
    assert [event.file for event in done.of("sample")] == [str(path)]


def test_kept_latents_say_what_they_show_and_decode_to_the_same_picture(
    run_child: Run, models: Any, prompts: Path, tmp_path: Path
) -> None:
    from safetensors import safe_open

    rendered = [*models.flags, "--from_file", prompts, "--device", "cpu", "--output_name", "lora"]
    run_child(sample.main, *rendered, "--save_path", tmp_path / "pictures")
    run_child(sample.main, *rendered, "--save_path", tmp_path / "kept", "--output_type", "latent")
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.name.startswith("lora_00_") and kept.name.endswith("_11_latent.safetensors")
    with safe_open(kept, "pt") as file:
        told = file.metadata()
        assert [*file.keys()] == ["latent"] and file.get_tensor("latent").shape == (16, 8, 8)
    assert told["seeds"] == "11" and told["prompt"] == "ohwx robot on a blue background"
    assert (told["width"], told["height"], told["infer_steps"]) == ("64", "64", "3")
    decoded = ["--vae", models.vae, "--latent_path", kept, kept, "--save_path", tmp_path / "again"]
    run_child(sample.main, *decoded, "--device", "cpu")
    (again,) = (tmp_path / "again").iterdir()
    assert again.name.startswith(f"{kept.stem}_00_")
    assert abs(pixels(tmp_path / "again") - pixels(tmp_path / "pictures")).max() <= 1


@pytest.mark.parametrize("shape", [(4, 8, 8), (2, 16, 8, 8), (16, 8)])
def test_latents_of_another_model_are_refused(models: Any, tmp_path: Path, shape: tuple[int, ...]) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"latent": torch.zeros(shape)}, tmp_path / "other.safetensors")
    argv = ["--vae", models.vae, "--latent_path", tmp_path / "other.safetensors", "--save_path", tmp_path]
    with pytest.raises(RequestError, match="no latents of this model"):
        sample.main([str(part) for part in argv])


def test_without_prompts_and_without_latents_there_is_nothing_to_render(models: Any, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--from_file is missing"):
        sample.main([*models.flags, "--save_path", str(tmp_path)])


def test_a_file_that_is_no_lora_is_refused_before_anything_is_loaded(
    models: Any, prompts: Path, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match="holds no LoRA"):
        sample.main(
            [
                *models.flags,
                *(
                    "--from_file",
                    str(prompts),
                    "--save_path",
                    str(tmp_path),
                    "--lora_weight",
                    str(models.vae),
                ),
            ]
        )


def test_sampling_agrees_with_the_pipeline_that_encodes_its_own_prompt(models: Any) -> None:
    """The short cut (embeddings without 512 tokens of padding) gives the picture of diffusers' own way."""
    import numpy
    import torch

    from musabi.dataset.prompts import Prompt
    from musabi.engines.diffusers import loading, rendering

    cpu = torch.device("cpu")
    prompt = Prompt("ohwx robot on a blue background", 64, 64, 3, 4, 2.0, 3.0, "a red circle")
    pipeline = rendering.make_pipeline(
        loading.load_transformer(models.dit, cpu, torch.float32), loading.load_vae(models.vae, cpu)
    )
    embedded = rendering.embed([prompt], models.text_encoder, cpu)[0]
    ours = numpy.asarray(rendering.render(pipeline, embedded, 3), dtype=int)
    pipeline.register_modules(
        text_encoder=loading.load_text_encoder(models.text_encoder, cpu, torch.float32),
        tokenizer=loading.load_tokenizer(models.text_encoder),
    )
    own = pipeline(
        prompt=prompt.text,
        negative_prompt=prompt.negative,
        width=64,
        height=64,
        num_inference_steps=4,
        guidance_scale=2.0,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    assert abs(ours - numpy.asarray(own, dtype=int)).max() <= 1
