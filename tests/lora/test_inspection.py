"""What musabi says of a LoRA file: its model, kind, size and training; layers that add nothing or are broken."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from musabi.errors import RequestError
from musabi.lora.adapter import read_adapter
from musabi.lora.convert import to_comfyui
from musabi.lora.inspection import as_text, inspect
from musabi.lora.models import ARCHITECTURES, Model, candidates, find_model
from musabi.recipes.load import load
from musabi.recipes.lora_models import known_models, lora_model
from small import loras
from small.recipes import of_one_kind

ZI = Model("z-image", "Z-Image", "z-image", "zi", loras.Z_IMAGE, ("networks.lora_zimage",))
TRAINED = {
    "ss_sd_model_name": "z_image.safetensors",
    "ss_learning_rate": "0.0001",
    "ss_optimizer": "prodigyopt.prodigy.Prodigy(d_coef=1.0)",
    "ss_steps": "1200",
    "ss_epoch": "10",
    "ss_network_dropout": "None",
    "ss_training_comment": "None",
    "ss_num_train_items": "24",
    "modelspec.trigger_phrase": "ohwx person",
    "ss_datasets": json.dumps(
        [
            {
                "image_directory": "images",
                "resolution": [1024, 768],
                "batch_size_per_device": 2,
                "num_repeats": 3,
                "caption_extension": ".txt",
            }
        ]
    ),
}


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr", "lokr-full"])
@pytest.mark.parametrize("dtype", loras.DTYPES)
def test_the_norm_is_that_of_what_is_added(kind: str, dtype: str, tmp_path: Path) -> None:
    path = loras.write(tmp_path / "a.safetensors", loras.names(loras.Z_IMAGE), kind, dtype=dtype)
    facts = inspect(path, [ZI])
    wanted = {name: float(np.linalg.norm(value)) for name, value in loras.deltas(path).items()}
    assert facts.norm_mean == pytest.approx(np.mean(list(wanted.values())), rel=1e-5)
    assert facts.norm_largest == pytest.approx(max(wanted.values()), rel=1e-5)
    assert loras.native(facts.largest_layer) == max(wanted, key=lambda name: wanted[name])
    group = next(group for group in facts.groups if group.name == "layers.#.attention.to_out.0")
    two = [wanted[f"lora_unet_layers_{n}_attention_to_out_0"] for n in range(2)]
    assert (group.layers, group.largest) == (2, pytest.approx(max(two), rel=1e-5))


def test_model_kind_rank_alpha_trigger_and_training_are_told(tmp_path: Path) -> None:
    path = loras.write(tmp_path / "a.safetensors", loras.names(loras.Z_IMAGE), dtype="bf16", metadata=TRAINED)
    facts = inspect(path, [ZI])
    assert (facts.models, facts.kinds, facts.ranks, facts.alphas) == (("z-image",), ("LoRA",), (4,), (2.0,))
    assert (facts.form, facts.dtypes, facts.layers, facts.trigger) == ("native", ("bf16",), 14, "ohwx person")
    assert facts.training["optimizer"].startswith("prodigyopt") and "comment" not in facts.training
    assert facts.datasets[0].resolution == [1024, 768]
    text = as_text(facts)
    for said in (
        "Z-Image",
        "LoRA, rank 4, alpha 2",
        "ohwx person",
        "1200",
        "images, 1024x768, batch 2, repeats 3",
    ):
        assert said in text
    values = json.loads(json.dumps(facts.as_json()))
    assert values["datasets"][0]["folder"] == "images" and values["path"] == str(path)


def test_layers_that_add_nothing_or_hold_nan_are_named(tmp_path: Path) -> None:
    tensors = load_file(loras.write(tmp_path / "a.safetensors", loras.names(loras.Z_IMAGE)))
    tensors["lora_unet_layers_0_attention_to_q.lora_up.weight"].zero_()
    tensors["lora_unet_layers_1_attention_to_k.lora_down.weight"][1, 1] = float("nan")
    tensors["lora_unet_layers_1_attention_to_v.lora_down.weight"][1, 1] = float("inf")
    save_file(tensors, tmp_path / "a.safetensors")
    facts = inspect(tmp_path / "a.safetensors", [ZI])
    assert facts.zero_layers == ("layers.0.attention.to_q",)
    assert set(facts.broken_layers) == {"layers.1.attention.to_k", "layers.1.attention.to_v"}
    text = as_text(facts)
    assert "1 of 14 layers add nothing: layers.0.attention.to_q" in text
    assert "2 of 14 layers hold NaN or infinite numbers" in text
    assert "NaN" not in json.dumps(facts.as_json())


def test_a_file_of_no_known_model_is_told_as_far_as_it_goes(tmp_path: Path) -> None:
    path = loras.write(tmp_path / "a.safetensors", ["blocks.3.mixer.in", "blocks.4.mixer.in"], metadata=None)
    facts = inspect(path, [ZI])
    assert (facts.models, facts.layers) == ((), 2)
    assert facts.groups[0].name == "blocks_#_mixer_in"
    assert "none that musabi knows" in as_text(facts)
    with pytest.raises(RequestError, match="fits no model that musabi knows: it has layers such as blocks_3"):
        find_model(read_adapter(path), [ZI])


def test_the_trigger_word_may_stand_in_the_training_comment(tmp_path: Path) -> None:
    for comment, wanted in (("trigger word: ohwx", "ohwx"), ("a note", None)):
        said = {"ss_training_comment": comment}
        path = loras.write(tmp_path / "a.safetensors", loras.names(loras.Z_IMAGE), metadata=said)
        assert inspect(path, [ZI]).trigger == wanted


def test_tensors_besides_the_layers_are_told(tmp_path: Path) -> None:
    tensors = load_file(loras.write(tmp_path / "a.safetensors", loras.names(loras.Z_IMAGE)))
    save_file(
        {**tensors, "lora_unet_layers_0_attention_to_q.diff_b": torch.zeros(2)}, tmp_path / "a.safetensors"
    )
    assert "part of no layer: lora_unet_layers_0_attention_to_q.diff_b" in as_text(
        inspect(tmp_path / "a.safetensors", [ZI])
    )


def test_damaged_dataset_metadata_is_passed_over(tmp_path: Path) -> None:
    for text in ("[", "3", "[3]", '{"a": 1}'):
        path = loras.write(
            tmp_path / "a.safetensors", loras.names(loras.Z_IMAGE), metadata={"ss_datasets": text}
        )
        assert inspect(path, [ZI]).datasets == ()


@pytest.mark.parametrize("name", of_one_kind())
@pytest.mark.parametrize("form", ["native", "dotted"])
def test_every_models_own_files_are_known_by_their_layers(name: str, form: str, tmp_path: Path) -> None:
    model = lora_model(load(name))
    path = loras.write(tmp_path / "a.safetensors", loras.names(model.modules), metadata=None)
    if form == "dotted":
        path = to_comfyui(path, tmp_path / "b.safetensors", replace(model, form="dotted")).path
    assert model in candidates(read_adapter(path), known_models())


@pytest.mark.parametrize("name", of_one_kind())
def test_the_trainers_metadata_tells_models_apart_whose_layers_look_alike(name: str, tmp_path: Path) -> None:
    model = lora_model(load(name))
    version = next(long for long, short in ARCHITECTURES.items() if short == model.architecture)
    said = {"ss_base_model_version": version, "ss_network_module": model.network_modules[0]}
    path = loras.write(tmp_path / "a.safetensors", loras.names(model.modules), metadata=said)
    found = candidates(read_adapter(path), known_models())
    assert model in found
    assert {one.architecture for one in found} == {model.architecture}


def test_models_that_look_alike_and_are_converted_differently_must_be_named(tmp_path: Path) -> None:
    one = Model("flux-1", "FLUX.1", "flux-1", "fk", ("double_blocks.#.img_attn.qkv",), (), "native")
    two = Model("hunyuan", "HunyuanVideo", "hunyuan", "hv", ("double_blocks.#.img_attn_qkv",), (), "dotted")
    path = loras.write(tmp_path / "a.safetensors", ["double_blocks.0.img_attn_qkv"], metadata=None)
    with pytest.raises(RequestError, match=r"may be a LoRA of FLUX\.1 or HunyuanVideo.*--model flux-1"):
        find_model(read_adapter(path), [one, two])
    told = loras.write(
        tmp_path / "b.safetensors",
        ["double_blocks.0.img_attn_qkv"],
        metadata={"ss_base_model_version": "hunyuan_video"},
    )
    assert find_model(read_adapter(told), [one, two]) == two
    like = replace(one, name="flux-1-again", modules=(*one.modules, "single_blocks.#.linear1"))
    assert find_model(read_adapter(path), [one, like]) == one


def test_the_nearest_model_is_named_where_some_layers_are_another_models(tmp_path: Path) -> None:
    modules = [*loras.names(loras.Z_IMAGE), "layers.0.other"]
    path = loras.write(tmp_path / "a.safetensors", modules)
    with pytest.raises(RequestError, match="nearest is Z-Image, which has no layer layers_0_other"):
        find_model(read_adapter(path), [ZI])


def test_keys_of_two_kinds_in_one_file_are_refused(tmp_path: Path) -> None:
    tensors = loras.layer("lora", "lora_unet_layers_0_attention_to_q", 1)
    tensors |= loras.layer("lora", "diffusion_model.layers.0.attention.to_k", 2)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(RequestError, match="mixes keys of several kinds"):
        read_adapter(tmp_path / "a.safetensors")


def test_a_part_that_is_there_twice_is_never_lost(tmp_path: Path) -> None:
    tensors = loras.layer("lora", "lora_unet_a", 1)
    tensors["lora_unet_a.lora_A.weight"] = torch.zeros(4, 12)
    save_file(tensors, tmp_path / "a.safetensors")
    assert len(read_adapter(tmp_path / "a.safetensors").others) == 1


def test_a_factor_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    tensors = {
        "lora_unet_a.lora_down.weight": torch.zeros(4, 8),
        "lora_unet_a.lora_up.weight": torch.zeros(8, 5),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(RequestError, match="the factors of the layer a don't fit"):
        read_adapter(tmp_path / "a.safetensors")
