"""Merged LoRAs add the weighted sum of what they were merged from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from musabi.errors import RequestError
from musabi.lora.convert import to_comfyui
from musabi.lora.merge import merge
from musabi.lora.models import Model
from musabi.recipes.load import load
from musabi.recipes.lora_models import known_models, lora_model
from small import loras
from small.recipes import of_one_kind

ZI = Model("z-image", "Z-Image", "z-image", "zi", loras.Z_IMAGE, ("networks.lora_zimage",))
WAN = Model("wan", "Wan", "wan", "wan", ("blocks.#.self_attn.q",))
MODULES = loras.names(loras.Z_IMAGE)


def two(folder: Path, **more: object) -> tuple[Path, Path]:
    return (
        loras.write(folder / "one.safetensors", MODULES, seed=1, alpha=3.0, **more),  # type: ignore[arg-type]
        loras.write(folder / "two.safetensors", MODULES, seed=2, rank=6, **more),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("weights", [(0.7, 0.5), (1.0, -0.25), (0.0, 2.0)])
def test_the_sum_is_exact(weights: tuple[float, float], tmp_path: Path) -> None:
    one, other = two(tmp_path)
    done = merge([one, other], weights, tmp_path / "m.safetensors", [ZI])
    assert (done.rank, done.layers, done.form, done.energy) == (10, 14, "native", None)
    parts, found = [loras.deltas(one), loras.deltas(other)], loras.deltas(done.path)
    for name, value in found.items():
        wanted = weights[0] * parts[0][name] + weights[1] * parts[1][name]
        assert np.allclose(value, wanted, rtol=1e-5, atol=1e-5)
    alphas = {float(value) for key, value in load_file(done.path).items() if key.endswith(".alpha")}
    assert alphas == {10.0}


@pytest.mark.parametrize("name", of_one_kind())
def test_loras_of_every_model_are_merged(name: str, tmp_path: Path) -> None:
    modules = loras.names(lora_model(load(name)).modules)
    one, other = (loras.write(tmp_path / f"{n}.safetensors", modules, seed=n) for n in (1, 2))
    done = merge([one, other], [0.5, 0.5], tmp_path / "m.safetensors", known_models())
    found = loras.deltas(done.path)
    first, second = loras.deltas(one), loras.deltas(other)
    assert all(np.allclose(found[key], (first[key] + second[key]) / 2, atol=1e-5) for key in first)


def test_native_and_comfyui_files_are_brought_to_one(tmp_path: Path) -> None:
    one, other = two(tmp_path)
    comfyui = to_comfyui(other, tmp_path / "c.safetensors", ZI).path
    mixed = merge([one, comfyui], [0.7, 0.5], tmp_path / "m.safetensors", [ZI])
    plain = merge([one, other], [0.7, 0.5], tmp_path / "p.safetensors", [ZI])
    assert mixed.form == "native"
    expected = loras.deltas(plain.path)
    assert all(
        np.allclose(value, expected[key], atol=1e-5) for key, value in loras.deltas(mixed.path).items()
    )


def test_files_that_all_have_comfyuis_keys_give_one_that_has_them(tmp_path: Path) -> None:
    one, other = (to_comfyui(path, path.with_stem(f"c-{path.stem}"), ZI).path for path in two(tmp_path))
    done = merge([one, other], [1, 1], tmp_path / "m.safetensors", [ZI])
    assert done.form == "dotted"
    found, first, second = loras.deltas(done.path), loras.deltas(one), loras.deltas(other)
    assert found.keys() == first.keys()
    assert all(np.allclose(found[key], first[key] + second[key], atol=1e-5) for key in first)


def test_a_layer_that_one_file_lacks_comes_from_the_other(tmp_path: Path) -> None:
    one = loras.write(tmp_path / "one.safetensors", MODULES[:7], seed=1)
    other = loras.write(tmp_path / "two.safetensors", MODULES[3:], seed=2)
    done = merge([one, other], [0.5, 2], tmp_path / "m.safetensors", [ZI])
    found = loras.deltas(done.path)
    assert len(found) == 14
    last = loras.native(MODULES[-1])
    assert np.allclose(found[last], 2 * loras.deltas(other)[last], atol=1e-5)


@pytest.mark.parametrize("rank", [1, 3, 7, 10, 40])
def test_a_smaller_rank_is_the_nearest_there_is(rank: int, tmp_path: Path) -> None:
    one, other = two(tmp_path)
    exact = loras.deltas(merge([one, other], [0.7, 0.5], tmp_path / "e.safetensors", [ZI]).path)
    done = merge([one, other], [0.7, 0.5], tmp_path / "m.safetensors", [ZI], rank)
    kept, whole = 0.0, 0.0
    for name, found in loras.deltas(done.path).items():
        left, values, right = np.linalg.svd(exact[name])
        best = left[:, :rank] @ np.diag(values[:rank]) @ right[:rank] if rank < 10 else exact[name]
        assert np.allclose(found, best, atol=1e-4)
        kept, whole = kept + np.square(values[:rank]).sum(), whole + np.square(values).sum()
    assert done.rank == min(rank, 10)
    assert done.energy == (pytest.approx(kept / whole, rel=1e-5) if rank < 10 else None)


def test_bf16_stays_bf16_and_mixed_numbers_become_float32(tmp_path: Path) -> None:
    one, other = two(tmp_path, dtype="bf16")
    wide = loras.write(tmp_path / "w.safetensors", MODULES, dtype="f16")
    for files, wanted in (([one, other], torch.bfloat16), ([one, wide], torch.float32)):
        done = merge(files, [0.5, 0.5], tmp_path / "m.safetensors", [ZI])
        kinds = {value.dtype for key, value in load_file(done.path).items() if not key.endswith("alpha")}
        assert kinds == {wanted}


def test_metadata_says_what_all_say_and_what_was_merged(tmp_path: Path) -> None:
    shared = {"ss_base_model_version": "z_image", "modelspec.architecture": "Z-Image/lora"}
    one = loras.write(
        tmp_path / "one.safetensors", MODULES, metadata={**shared, "ss_steps": "3", "modelspec.date": "1"}
    )
    other = loras.write(
        tmp_path / "two.safetensors", MODULES, metadata={**shared, "ss_steps": "3", "modelspec.date": "2"}
    )
    found = loras.metadata(merge([one, other], [1, 1], tmp_path / "m.safetensors", [ZI]).path)
    assert shared.items() <= found.items()
    assert found["ss_network_dim"] == found["ss_network_alpha"] == "8"
    assert found["modelspec.merged_from"] == "one.safetensors, two.safetensors"
    assert not {"ss_steps", "modelspec.date"} & found.keys()


def test_loras_of_different_models_are_refused_by_name(tmp_path: Path) -> None:
    one = loras.write(tmp_path / "one.safetensors", MODULES)
    other = loras.write(tmp_path / "two.safetensors", ["blocks.0.self_attn.q"], metadata=None)
    unknown = loras.write(tmp_path / "three.safetensors", ["mixer.0.x"], metadata=None)
    cases = {
        other: r"one\.safetensors is a LoRA of Z-Image, .*two\.safetensors one of Wan",
        unknown: r"is a LoRA of Z-Image, .*three\.safetensors one of a model that musabi does not know",
    }
    for path, message in cases.items():
        with pytest.raises(RequestError, match=message):
            merge([one, path], [1, 1], tmp_path / "m.safetensors", [ZI, WAN])


def test_loras_of_one_unknown_model_are_merged_by_their_names(tmp_path: Path) -> None:
    one, other = (
        loras.write(tmp_path / f"{n}.safetensors", ["mixer.0.x", "mixer.1.x"], seed=n, metadata=None)
        for n in (1, 2)
    )
    done = merge([one, other], [1, 1], tmp_path / "m.safetensors", [ZI])
    key = "lora_unet_mixer_0_x"
    assert np.allclose(
        loras.deltas(done.path)[key], loras.deltas(one)[key] + loras.deltas(other)[key], atol=1e-5
    )


def test_sizes_kinds_and_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    one = loras.write(tmp_path / "one.safetensors", MODULES)
    loha = loras.write(tmp_path / "loha.safetensors", MODULES, "loha")
    wide = {key: torch.zeros(4, 99) if "down" in key else value for key, value in load_file(one).items()}
    save_file(wide, tmp_path / "wide.safetensors")
    cases = {
        loha: "is a LoHa",
        tmp_path
        / "wide.safetensors": "for models of different sizes: the layer .* 12 inputs and 18 outputs .* 99 inputs",
    }
    for path, message in cases.items():
        with pytest.raises(RequestError, match=message):
            merge([one, path], [1, 1], tmp_path / "m.safetensors", [ZI])
    with pytest.raises(RequestError, match="2 files and 1 weights were given"):
        merge([one, one], [1], tmp_path / "m.safetensors", [ZI])
    assert not (tmp_path / "m.safetensors").exists()
