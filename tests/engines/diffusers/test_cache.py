"""Caching: musubi-tuner's files, written whole, nothing twice, nothing left over."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from musabi.engines.diffusers import cache_latents, cache_text
from musabi.errors import RequestError

Run = Callable[..., Any]


def test_latents_have_musubi_tuners_name_key_and_metadata(cached: Any) -> None:
    from safetensors import safe_open

    with safe_open(cached.cache / "robot3_0064x0032_zi.safetensors", "pt") as file:
        assert list(file.keys()) == ["latents_1x6x10_float32"]
        latents = file.get_tensor("latents_1x6x10_float32")
        metadata = file.metadata()
    assert (tuple(latents.shape), str(latents.dtype)) == ((16, 6, 10), "torch.float32")
    assert metadata == {
        "architecture": "z_image",
        "width": "64",
        "height": "32",
        "format_version": "1.0.1",
    }


def test_latents_are_the_vaes_raw_mean(cached: Any, models: Any) -> None:
    import numpy
    import torch
    from PIL import Image
    from safetensors.torch import load_file

    from musabi.engines.diffusers import loading

    (latents,) = load_file(cached.cache / "robot1_0064x0064_zi.safetensors").values()
    picture = torch.from_numpy(numpy.array(Image.open(cached.images / "robot1.png"))).permute(2, 0, 1)
    vae = loading.load_vae(models.vae, torch.device("cpu"))
    with torch.no_grad():
        posterior = vae.encode(picture[None].float() / 127.5 - 1).latent_dist
    assert torch.allclose(posterior.mean[0], latents, atol=1e-4)


def test_captions_are_encoded_as_the_reference_pipeline_does(cached: Any, models: Any) -> None:
    """Padding to 512 tokens, as the reference does, gives the same embedding to the last bf16 digit or two."""
    import torch
    from safetensors import safe_open

    from musabi.engines.diffusers import loading

    with safe_open(cached.cache / "robot4_zi_te.safetensors", "pt") as file:
        assert list(file.keys()) == ["varlen_llm_embed_bfloat16"]
        found = file.get_tensor("varlen_llm_embed_bfloat16")
        caption = file.metadata()["caption1"]
        assert (file.metadata()["architecture"], file.metadata()["format_version"]) == ("z_image", "1.0.1")
    assert caption == (cached.images / "robot4.txt").read_text()
    tokenizer = loading.load_tokenizer(models.text_encoder)
    encoder = loading.load_text_encoder(models.text_encoder, torch.device("cpu"), torch.float32)
    chat = f"<|im_start|>user\n{caption}<|im_end|>\n<|im_start|>assistant\n"
    tokens = tokenizer([chat], padding="max_length", max_length=512, truncation=True, return_tensors="pt")
    with torch.no_grad():
        states = encoder(**tokens, output_hidden_states=True).hidden_states[-2][0]
    wanted = states[tokens.attention_mask[0].bool()]
    assert found.shape == wanted.shape
    assert torch.allclose(found.float(), wanted, rtol=0.01, atol=0.01)


def test_batches_and_threads_change_no_file(dataset: Any, models: Any, run_child: Run) -> None:
    import torch
    from safetensors.torch import load_file

    kept = {path.name: load_file(path) for path in dataset.cache.glob("*.safetensors")}
    common = ("--dataset_config", dataset.toml, "--batch_size", 3, "--num_workers", 2)
    run_child(cache_latents.main, *common, "--vae", models.vae)
    run_child(cache_text.main, *common, "--text_encoder", models.text_encoder)
    for name, tensors in kept.items():
        for key, tensor in load_file(dataset.cache / name).items():
            assert torch.allclose(tensor.float(), tensors[key].float(), rtol=0.01, atol=1e-4), name


def test_existing_files_are_kept_where_they_are_whole(dataset: Any, models: Any, run_child: Run) -> None:
    cut = dataset.cache / "robot0_0064x0064_zi.safetensors"
    whole = dataset.cache / "robot1_0064x0064_zi.safetensors"
    before = whole.stat().st_mtime_ns
    cut.write_bytes(cut.read_bytes()[:-100])
    flags = ("--dataset_config", dataset.toml, "--vae", models.vae)
    done = run_child(cache_latents.main, *flags, "--skip_existing")
    assert done.said == "1 of 5 latents were made."
    assert whole.stat().st_mtime_ns == before
    assert run_child(cache_latents.main, *flags).said == "5 of 5 latents were made."
    assert whole.stat().st_mtime_ns > before


def test_files_of_images_that_are_gone_are_removed(dataset: Any, models: Any, run_child: Run) -> None:
    (dataset.images / "robot2.png").unlink()
    (dataset.images / "robot2.txt").unlink()
    (dataset.cache / "mine.txt").write_text("not a cache file")
    latents = ("--dataset_config", dataset.toml, "--vae", models.vae, "--skip_existing")
    assert run_child(cache_latents.main, *latents, "--keep_cache").said == "0 of 4 latents were made."
    done = run_child(cache_latents.main, *latents)
    assert done.said == "0 of 4 latents were made. 1 that belong to no image were removed."
    text = ("--dataset_config", dataset.toml, "--text_encoder", models.text_encoder, "--skip_existing")
    run_child(cache_text.main, *text)
    left = {path.name for path in dataset.cache.iterdir()}
    assert "robot2_0064x0064_zi.safetensors" not in left
    assert "robot2_zi_te.safetensors" not in left
    assert {"mine.txt", "robot1_zi_te.safetensors", "robot1_0064x0064_zi.safetensors"} <= left


def test_a_torn_image_is_named(dataset: Any, models: Any) -> None:
    path = dataset.images / "robot1.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RequestError, match=r"robot1\.png .*\. Replace or remove it\."):
        cache_latents.main(["--dataset_config", str(dataset.toml), "--vae", str(models.vae)])


def test_a_dataset_without_captions_is_refused(dataset: Any, models: Any) -> None:
    for path in dataset.images.glob("*.txt"):
        path.unlink()
    with pytest.raises(RequestError, match="leads to no image with a caption"):
        cache_latents.main(["--dataset_config", str(dataset.toml), "--vae", str(models.vae)])


def test_an_unknown_argument_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"knows no argument --batchsize\. Did you mean --batch_size\?"):
        cache_latents.main(["--dataset_config", "d.toml", "--vae", "v", "--batchsize", "2"])
