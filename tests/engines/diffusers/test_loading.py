"""The weight files: layouts, sizes, and what is said where they don't fit."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from musabi.engines.diffusers import arch, loading
from musabi.engines.diffusers.weights import WeightFiles, open_weights
from musabi.errors import MachineError, RequestError
from musabi.whole import shards


def test_a_missing_or_cut_shard_is_named(models: Any, tmp_path: Path) -> None:
    shutil.copytree(models.dit.parent, tmp_path / "dit")
    first = tmp_path / "dit" / models.dit.name
    second = first.with_name(first.name.replace("00001-", "00002-"))
    second.write_bytes(second.read_bytes()[:-1])
    with pytest.raises(RequestError, match=r"00002-of-00002\.safetensors are cut short"):
        open_weights(first, "DiT")
    second.unlink()
    with pytest.raises(
        RequestError, match=r"00002-of-00002\.safetensors are missing\. Run: musabi models download"
    ):
        open_weights(first, "DiT")


def test_sizes_come_from_the_files(models: Any) -> None:
    config = arch.transformer_config(open_weights(models.dit, "DiT"))
    assert (config["dim"], config["n_layers"], config["n_refiner_layers"], config["n_heads"]) == (64, 3, 1, 2)
    assert (config["cap_feat_dim"], config["axes_dims"]) == (64, [8, 12, 12])
    config = arch.vae_config(open_weights(models.vae, "VAE"))
    assert (config["block_out_channels"], config["layers_per_block"]) == ([8, 16, 32, 40], 1)
    config = arch.text_encoder_config(open_weights(models.text_encoder, "text encoder"))
    assert (config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]) == (64, 3, 512)


def real(tensors: dict[str, tuple[int, ...]]) -> WeightFiles:
    return WeightFiles((Path("real.safetensors"),), tensors, {})


def test_z_images_own_sizes_are_recognised() -> None:
    """The shapes of the real files give the configuration that Z-Image was published with."""
    transformer = {
        "all_x_embedder.2-1.weight": (3840, 64),
        "cap_embedder.1.weight": (3840, 2560),
        "layers.0.attention.norm_q.weight": (128,),
        "layers.29.attention.to_q.weight": (3840, 3840),
        "noise_refiner.1.attention.to_q.weight": (3840, 3840),
    }
    assert arch.transformer_config(real(transformer)) == arch.shipped("transformer")
    widths = (128, 256, 512, 512)
    vae = {f"encoder.down.{i}.block.0.conv1.weight": (width, 1, 3, 3) for i, width in enumerate(widths)}
    vae |= {
        "encoder.down.0.block.1.conv1.weight": (128, 128, 3, 3),
        "decoder.conv_in.weight": (512, 16, 3, 3),
    }
    found = arch.vae_config(real(vae))
    assert {name: found[name] for name in arch.shipped("vae")} == arch.shipped("vae")
    layer = "model.layers.0."
    text = {
        "model.embed_tokens.weight": (151936, 2560),
        f"{layer}self_attn.q_norm.weight": (128,),
        f"{layer}self_attn.q_proj.weight": (4096, 2560),
        f"{layer}self_attn.k_proj.weight": (1024, 2560),
        f"{layer}mlp.gate_proj.weight": (9728, 2560),
        "model.layers.35.mlp.gate_proj.weight": (9728, 2560),
    }
    assert arch.text_encoder_config(real(text)) == arch.shipped("text_encoder")


def test_a_file_in_the_wrong_place_is_named(models: Any) -> None:
    import torch

    cpu = torch.device("cpu")
    with pytest.raises(RequestError, match="holds no Z-Image transformer"):
        loading.load_transformer(models.vae, cpu, torch.float32)
    with pytest.raises(RequestError, match="holds no Z-Image VAE"):
        loading.load_vae(models.dit, cpu)
    with pytest.raises(RequestError, match="holds no Qwen3 text encoder"):
        loading.load_text_encoder(models.dit, cpu, torch.float32)


def test_a_tensor_too_few_is_named(models: Any, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(models.vae)
    del tensors["decoder.mid.block_1.conv1.bias"]
    save_file(tensors, tmp_path / "ae.safetensors", {"norm_num_groups": "1"})
    with pytest.raises(RequestError, match=r"VAE weights .* don't fit Z-Image"):
        loading.load_vae(tmp_path / "ae.safetensors", torch.device("cpu"))


def test_comfyuis_single_file_with_fused_attention_gives_the_same_model(models: Any, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    shard_files = shards(models.dit)
    tensors = {name: tensor for file in shard_files for name, tensor in load_file(file).items()}
    fused: dict[str, Any] = {}
    for name, tensor in tensors.items():
        if ".attention.to_q." in name:
            parts = [tensors[name.replace("to_q", part)] for part in ("to_q", "to_k", "to_v")]
            fused[name.replace("to_q", "qkv")] = torch.cat(parts)
        elif ".attention.to_k." not in name and ".attention.to_v." not in name:
            name = name.replace("all_x_embedder.2-1", "x_embedder").replace(
                "all_final_layer.2-1", "final_layer"
            )
            name = name.replace("attention.to_out.0", "attention.out")
            fused[name.replace("norm_q", "q_norm").replace("norm_k", "k_norm")] = tensor
    save_file(fused, tmp_path / "z_image.safetensors")
    cpu = torch.device("cpu")
    one = loading.load_transformer(models.dit, cpu, torch.float32).state_dict()
    other = loading.load_transformer(tmp_path / "z_image.safetensors", cpu, torch.float32).state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_without_its_tokenizer_the_hub_cache_is_named(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models.text_encoder.parent, tmp_path / "text_encoder")
    (tmp_path / "text_encoder/tokenizer/vocab.json").unlink()
    with pytest.raises(RequestError, match=r"tokenizer is not in .*/text_encoder/tokenizer"):
        loading.load_tokenizer(tmp_path / "text_encoder" / models.text_encoder.name)


def test_a_gpu_that_torch_can_not_use_is_said_plainly() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(MachineError, match="The GPU can't be used by the torch"):
        loading.device_for("cuda")
    assert loading.device_for(None).type == "cpu"
