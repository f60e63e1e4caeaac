"""Converted files: the right keys, and W x as before; what can't be converted is refused in a sentence."""

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file

from musabi.errors import RequestError
from musabi.lora.convert import to_comfyui, to_native
from musabi.lora.models import Model
from musabi.recipes.load import load
from musabi.recipes.lora_models import known_models, lora_model
from small import loras
from small.recipes import of_one_kind

ZI = Model("z-image", "Z-Image", "z-image", "zi", loras.Z_IMAGE)
TOLERANCE = {"f32": 1e-6, "bf16": 2**-8, "f16": 2**-10}
KINDS = ("lora", "loha", "lokr", "lokr-full")


def same(source: Path, converted: Path, tolerance: float) -> None:
    """Assert that a file of Z-Image adds the same to every layer as the one it was converted from."""
    before, after = loras.deltas(source), loras.deltas(converted)
    assert len(before) == len(after)
    for name in loras.names(loras.Z_IMAGE):
        found, wanted = after[f"diffusion_model.{name}"], before[loras.native(name)]
        assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max(), name


def comfyuis_name(module: str, model: Model) -> str:
    for one, parts in model.fused:
        number = next(iter(re.findall(r"\d+", module)), "")
        if module in [part.replace("#", number) for part in parts]:
            return one.replace("#", number).removeprefix(model.strip)
    return module.removeprefix(model.strip)


@pytest.mark.parametrize("name", of_one_kind())
@pytest.mark.parametrize("kind", ["lora", "loha", "lokr"])
def test_every_models_lora_adds_the_same_after_conversion_and_back(
    name: str, kind: str, tmp_path: Path
) -> None:
    model = replace(lora_model(load(name)), form="dotted")
    dotted = loras.names(model.modules)
    assert dotted, f"{name}.toml names no network.modules"
    if kind == "lokr" and model.fused:
        with pytest.raises(RequestError, match=r"is a LoKr\. ComfyUI keeps .* in one layer"):
            to_comfyui(
                loras.write(tmp_path / "a.safetensors", dotted, kind), tmp_path / "b.safetensors", model
            )
        return
    source = loras.write(tmp_path / "a.safetensors", dotted, kind)
    comfyui = to_comfyui(source, tmp_path / "b.safetensors", model)
    assert comfyui.layers == len(dotted)
    before, after = loras.deltas(source), loras.deltas(comfyui.path)
    parts: dict[str, list[str]] = {}
    for module in dotted:
        parts.setdefault(comfyuis_name(module, model), []).append(module)
    assert after.keys() == {f"{model.prefix}.{one}" for one in parts}
    for one, modules in parts.items():
        wanted = np.concatenate([before[loras.native(module)] for module in modules])
        assert np.allclose(after[f"{model.prefix}.{one}"], wanted, rtol=1e-6, atol=1e-6)
    back = to_native(comfyui.path, tmp_path / "c.safetensors", model)
    again = loras.deltas(back.path)
    assert load_file(back.path).keys() == load_file(source).keys()
    for module, wanted in before.items():
        assert np.allclose(again[module], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", of_one_kind())
def test_no_two_layers_of_a_model_look_alike_to_the_trainer(name: str) -> None:
    dotted = loras.names(load(name).network.modules, blocks=12)
    assert len({loras.native(module) for module in dotted}) == len(dotted)


@pytest.mark.parametrize("name", of_one_kind())
def test_a_plan_step_writes_what_comfyui_reads_of_every_model(name: str, tmp_path: Path) -> None:
    model = lora_model(load(name))
    source = loras.write(tmp_path / "a.safetensors", loras.names(model.modules), "lora", dtype="bf16")
    written = to_comfyui(source, tmp_path / "comfyui" / "a.safetensors", model)
    keys = load_file(written.path).keys()
    if model.form == "native":
        assert written.path.samefile(source)
        assert "as it was trained" in (written.note or "")
    else:
        assert all(key.startswith(f"{model.prefix}.") for key in keys)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0, None])
def test_what_is_added_stays_in_every_kind_of_numbers(
    kind: str, dtype: str, alpha: float | None, tmp_path: Path
) -> None:
    modules = loras.names(loras.Z_IMAGE)
    source = loras.write(tmp_path / "a.safetensors", modules, kind, dtype=dtype, alpha=alpha)
    done = to_comfyui(source, tmp_path / "b.safetensors", ZI)
    same(source, done.path, TOLERANCE[dtype])
    assert {value.dtype for value in load_file(done.path).values()} == {loras.DTYPES[dtype]}


@pytest.mark.parametrize("alpha", [1.0, 2.0, 4.0, 8.0])
def test_a_bf16_file_computes_bit_for_bit_what_was_trained_where_the_scale_is_a_power_of_two(
    alpha: float, tmp_path: Path
) -> None:
    modules = loras.names(loras.Z_IMAGE)
    source = loras.write(tmp_path / "a.safetensors", modules, dtype="bf16", alpha=alpha)
    done = to_comfyui(source, tmp_path / "b.safetensors", ZI)
    same(source, done.path, 0.0)


def test_alpha_is_shared_out_so_that_no_factor_becomes_tiny(tmp_path: Path) -> None:
    modules = loras.names(loras.Z_IMAGE, 1)
    source = loras.write(tmp_path / "a.safetensors", modules, alpha=4 / 1024)
    done = load_file(to_comfyui(source, tmp_path / "b.safetensors", ZI).path)
    before = load_file(source)
    for part, ending in (("lora_down", "lora_A"), ("lora_up", "lora_B")):
        was = before[f"{loras.native(modules[0])}.{part}.weight"]
        now = done[f"diffusion_model.{modules[0]}.{ending}.weight"]
        assert torch.equal(now, was / 32)


def test_a_lora_has_no_alpha_then_and_loha_and_lokr_keep_it(tmp_path: Path) -> None:
    for kind in KINDS:
        source = loras.write(tmp_path / f"{kind}.safetensors", loras.names(loras.Z_IMAGE), kind)
        keys = load_file(to_comfyui(source, tmp_path / f"{kind}-c.safetensors", ZI).path).keys()
        assert any(key.endswith(".alpha") for key in keys) == (kind != "lora")


def test_metadata_stays_and_the_hashes_are_the_files_own(tmp_path: Path) -> None:
    source = loras.write(
        tmp_path / "a.safetensors",
        loras.names(loras.Z_IMAGE, 40),
        metadata={**loras.METADATA, "sshs_model_hash": "old", "ss_long": "x" * 700_000},
        rank=64,
        dtype="bf16",
    )
    done = to_comfyui(source, tmp_path / "b.safetensors", ZI)
    found = loras.metadata(done.path)
    assert found.keys() == {*loras.METADATA, "ss_long", "sshs_model_hash", "sshs_legacy_hash"}
    assert found["modelspec.title"] == "Prüfung"
    lasting = {key: value for key, value in found.items() if key.startswith("ss_")}
    plain = save(load_file(done.path), lasting)
    begin = 8 + int.from_bytes(plain[:8], "little")
    assert begin < 0x100000 < len(plain)
    assert found["sshs_model_hash"] == hashlib.sha256(plain[begin:]).hexdigest()
    assert found["sshs_legacy_hash"] == hashlib.sha256(plain[0x100000:0x110000]).hexdigest()[:8]


def test_the_file_is_laid_down_as_the_safetensors_library_does(tmp_path: Path) -> None:
    source = loras.write(
        tmp_path / "a.safetensors", loras.names(loras.Z_IMAGE), "loha", dtype="bf16", metadata=None
    )
    mixed = {**load_file(source), **loras.layer("lora", "lora_unet_layers_9_feed_forward_w1", 5)}
    save_file(mixed, source)
    done = to_comfyui(source, tmp_path / "b.safetensors", ZI)
    theirs = save(load_file(done.path), loras.metadata(done.path))
    ours = done.path.read_bytes()
    begin = 8 + int.from_bytes(ours[:8], "little")
    assert ours[begin:] == theirs[begin:]
    assert json.loads(ours[8:begin]) == json.loads(theirs[8:begin])
    assert list(json.loads(ours[8:begin])) == list(json.loads(theirs[8:begin]))


def fused(source: Path, target: Path, *, dotted: bool, blocks: bool) -> Path:
    """Write a Z-Image LoRA with query, key and value in one layer, as ComfyUI's model has them.

    With `blocks` three layers are stood together; else one layer was trained whole: one down, a long up.
    """
    before = load_file(source)
    made: dict[str, torch.Tensor] = {}

    def put(layer: str, down: torch.Tensor, up: torch.Tensor, alpha: torch.Tensor) -> None:
        base = f"diffusion_model.{layer}" if dotted else loras.native(layer)
        endings = ("lora_A.weight", "lora_B.weight") if dotted else ("lora_down.weight", "lora_up.weight")
        made.update({f"{base}.{endings[0]}": down, f"{base}.{endings[1]}": up, f"{base}.alpha": alpha})

    def take(layer: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        base = loras.native(layer)
        return before[f"{base}.lora_down.weight"], before[f"{base}.lora_up.weight"], before[f"{base}.alpha"]

    for n in range(2):
        downs, ups, alphas = zip(*(take(f"layers.{n}.attention.to_{part}") for part in "qkv"), strict=True)
        one = (torch.cat(downs), torch.block_diag(*ups), alphas[0] * 3)
        put(f"layers.{n}.attention.qkv", *(one if blocks else (downs[0], torch.cat(ups), alphas[0])))
        put(f"layers.{n}.attention.out", *take(f"layers.{n}.attention.to_out.0"))
        for w in (1, 2, 3):
            put(f"layers.{n}.feed_forward.w{w}", *take(f"layers.{n}.feed_forward.w{w}"))
    save_file(made, target)
    return target


JOINED = Model(
    *("made-up", "Made-up", "made-up", "mu"),
    modules=("m.blocks.#.q", "m.blocks.#.k", "m.blocks.#.v", "m.blocks.#.out"),
    strip="m.",
    fused=(("m.blocks.#.qkv", ("m.blocks.#.q", "m.blocks.#.k", "m.blocks.#.v")),),
)


@pytest.mark.parametrize("kind", ["lora", "loha"])
@pytest.mark.parametrize("left", ["qkv", "qv", "k"])
def test_layers_that_comfyui_keeps_as_one_are_joined_whatever_was_trained_of_them(
    kind: str, left: str, tmp_path: Path
) -> None:
    tensors: dict[str, torch.Tensor] = {}
    for n, (part, rank, alpha) in enumerate((("q", 4, 2.0), ("k", 3, 3.0), ("v", 5, 1.5))):
        base = f"lora_unet_m_blocks_0_{part}"
        tensors |= loras.layer(kind, base, n, rank=rank, alpha=alpha) if part in left else {}
    save_file(tensors, tmp_path / "a.safetensors")
    done = to_comfyui(tmp_path / "a.safetensors", tmp_path / "b.safetensors", JOINED)
    found = loras.deltas(done.path)
    assert found.keys() == {"diffusion_model.blocks.0.qkv"}
    before = loras.deltas(tmp_path / "a.safetensors")
    nothing = np.zeros((loras.OUTPUTS, loras.INPUTS))
    wanted = [before.get(f"lora_unet_m_blocks_0_{part}", nothing) for part in "qkv"]
    assert np.allclose(found["diffusion_model.blocks.0.qkv"], np.concatenate(wanted), atol=1e-5)
    back = loras.deltas(to_native(done.path, tmp_path / "c.safetensors", JOINED).path)
    assert all(np.allclose(back[key], value, atol=1e-5) for key, value in before.items())


def test_a_fused_models_values_reach_the_child_process(tmp_path: Path) -> None:
    from musabi.lora.command_line import arguments, command

    read = arguments(command("to-comfyui", tmp_path / "a", tmp_path / "b", JOINED)[2:])
    assert (
        replace(read.model, name=JOINED.name, family=JOINED.family, architecture=JOINED.architecture)
        == JOINED
    )


@pytest.mark.parametrize("blocks", [True, False])
@pytest.mark.parametrize("dotted", [True, False])
def test_query_key_and_value_in_one_are_taken_apart(dotted: bool, blocks: bool, tmp_path: Path) -> None:
    source = loras.write(tmp_path / "a.safetensors", loras.names(loras.Z_IMAGE))
    joined = fused(source, tmp_path / "b.safetensors", dotted=dotted, blocks=blocks)
    done = to_native(joined, tmp_path / "c.safetensors", ZI)
    assert load_file(done.path).keys() == load_file(source).keys()
    before, after = loras.deltas(source), loras.deltas(done.path)
    tensors = {key: value.double().numpy() for key, value in load_file(source).items()}
    for name, found in after.items():
        wanted = before[name]
        if not blocks and name.endswith(("_to_k", "_to_v")):
            query = name[:-1] + "q"
            wanted = tensors[f"{name}.lora_up.weight"] @ tensors[f"{query}.lora_down.weight"] * 0.5
        assert np.allclose(found, wanted, atol=1e-6), name
    ranks = {value.shape[0] for key, value in load_file(done.path).items() if "lora_down" in key}
    assert ranks == {4}


def test_a_fused_loha_is_taken_apart_and_a_fused_lokr_too_where_it_can_be(tmp_path: Path) -> None:
    for kind in ("loha", "lokr", "lokr-full"):
        tensors = loras.layer(kind, "lora_unet_layers_0_attention_qkv", 3)
        save_file(tensors, tmp_path / "a.safetensors")
        done = to_native(tmp_path / "a.safetensors", tmp_path / "b.safetensors", ZI)
        found = loras.deltas(done.path)
        parts = [found[f"lora_unet_layers_0_attention_to_{part}"] for part in "qkv"]
        whole = loras.deltas(tmp_path / "a.safetensors")["lora_unet_layers_0_attention_qkv"]
        assert np.allclose(np.concatenate(parts), whole, atol=1e-6)


def test_a_fused_loha_with_one_factor_in_blocks_keeps_its_rank(tmp_path: Path) -> None:
    base = "lora_unet_layers_0_attention_qkv"
    tensors = loras.layer("loha", base, 3, rank=6)
    tensors[f"{base}.hada_w1_a"] = torch.block_diag(*torch.randn(3, 6, 2))
    save_file(tensors, tmp_path / "a.safetensors")
    found = loras.deltas(to_native(tmp_path / "a.safetensors", tmp_path / "b.safetensors", ZI).path)
    parts = [found[f"lora_unet_layers_0_attention_to_{part}"] for part in "qkv"]
    assert np.allclose(np.concatenate(parts), loras.deltas(tmp_path / "a.safetensors")[base], atol=1e-6)


def test_a_fused_layer_that_has_no_thirds_is_refused(tmp_path: Path) -> None:
    tensors = {
        "lora_unet_layers_0_attention_qkv.lokr_w1": torch.randn(2, 3),
        "lora_unet_layers_0_attention_qkv.lokr_w2": torch.randn(9, 4),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(RequestError, match="can't be taken apart"):
        to_native(tmp_path / "a.safetensors", tmp_path / "b.safetensors", ZI)


def test_a_training_adapter_in_diffusers_format_gets_native_keys_and_alpha(tmp_path: Path) -> None:
    tensors = {}
    for name in loras.names(loras.Z_IMAGE):
        tensors[f"transformer.{name}.lora_A.weight"] = torch.randn(4, 6)
        tensors[f"transformer.{name}.lora_B.weight"] = torch.randn(8, 4)
    tensors["transformer.noise_refiner.0.attention.to_q.lora_A.weight"] = torch.randn(4, 6)
    tensors["transformer.noise_refiner.0.attention.to_q.lora_B.weight"] = torch.randn(8, 4)
    save_file(tensors, tmp_path / "a.safetensors")
    done = to_native(tmp_path / "a.safetensors", tmp_path / "b.safetensors", ZI)
    found = load_file(done.path)
    assert len(found) == 15 * 3
    assert found["lora_unet_layers_1_attention_to_out_0.alpha"] == 4
    assert done.note == "Kept, though Z-Image trains no such layer: noise_refiner.0.attention.to_q"
    assert "lora_unet_noise_refiner_0_attention_to_q.lora_down.weight" in found


def test_no_model_is_needed_for_the_way_back(tmp_path: Path) -> None:
    source = loras.write(tmp_path / "a.safetensors", loras.names(loras.Z_IMAGE))
    comfyui = to_comfyui(source, tmp_path / "b.safetensors", ZI).path
    done = to_native(comfyui, tmp_path / "c.safetensors")
    assert load_file(done.path).keys() == load_file(source).keys()


def test_a_model_whose_trained_file_comfyui_reads_gets_native_keys_from_dotted_ones(tmp_path: Path) -> None:
    flux = Model("flux", "FLUX", "flux", "fk", ("double_blocks.#.img_attn.qkv",), (), "native")
    tensors = {
        "diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight": torch.randn(4, 6),
        "diffusion_model.double_blocks.0.img_attn.qkv.lora_B.weight": torch.randn(8, 4),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    done = to_comfyui(tmp_path / "a.safetensors", tmp_path / "b.safetensors", flux)
    assert "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight" in load_file(done.path)


def test_the_trained_file_is_copied_where_the_disk_knows_no_second_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flux = Model("flux", "FLUX", "flux", "fk", ("blocks.#.proj",), (), "native")
    source = loras.write(tmp_path / "a.safetensors", ["blocks.0.proj"])

    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    done = to_comfyui(source, tmp_path / "b.safetensors", flux)
    assert done.path.read_bytes() == source.read_bytes()
    assert not done.path.samefile(source)


def test_converting_again_leaves_one_file_and_no_piece(tmp_path: Path) -> None:
    flux = Model("flux", "FLUX", "flux", "fk", ("blocks.#.proj",), (), "native")
    source = loras.write(tmp_path / "a.safetensors", ["blocks.0.proj"])
    for _ in range(2):
        to_comfyui(source, tmp_path / "b.safetensors", flux)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]
    before = source.read_bytes()
    to_comfyui(source, tmp_path / "b.safetensors", replace(flux, form="dotted"))
    assert source.read_bytes() == before != (tmp_path / "b.safetensors").read_bytes()


def test_a_layer_that_is_there_fused_and_alone_is_refused(tmp_path: Path) -> None:
    tensors = {**loras.layer("lora", "lora_unet_layers_0_attention_qkv", 1)}
    tensors |= loras.layer("lora", "lora_unet_layers_0_attention_to_q", 2)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(RequestError, match=r"has the layer layers\.0\.attention\.to_q twice"):
        to_native(tmp_path / "a.safetensors", tmp_path / "b.safetensors", ZI)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_header_never_gives_a_traceback(seed: int, tmp_path: Path) -> None:
    data = bytearray(loras.write(tmp_path / "a.safetensors", loras.names(loras.Z_IMAGE, 1)).read_bytes())
    random = np.random.default_rng(seed)
    begin = 8 + int.from_bytes(data[:8], "little")
    for place in random.integers(0, begin, 1 + seed % 4):
        data[place] = random.choice(np.frombuffer(b'0123456789[]{}",:-F\x00\xff', np.uint8))
    (tmp_path / "b.safetensors").write_bytes(data)
    for convert in (lambda *files: to_comfyui(*files, ZI), to_native):
        try:
            convert(tmp_path / "b.safetensors", tmp_path / "c.safetensors")
        except RequestError as said:
            assert "b.safetensors" in str(said)


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    good = loras.write(folder / "good.safetensors", loras.names(loras.Z_IMAGE))
    data = good.read_bytes()
    files = {
        name: folder / f"{name}.safetensors"
        for name in ("cut", "empty", "text", "damaged", "vae", "half", "odd")
    }
    files["cut"].write_bytes(data[:-10])
    files["empty"].write_bytes(b"")
    files["text"].write_text("a note about LoRAs, long enough to hold a length")
    files["damaged"].write_bytes(data[:200].replace(b'"shape":[', b'"shape":{') + data[200:])
    save_file({"encoder.conv_in.weight": torch.zeros(2, 2)}, files["vae"])
    half = load_file(good)
    del half["lora_unet_layers_1_attention_to_q.lora_up.weight"]
    save_file(half, files["half"])
    save_file({**load_file(good), "lora_unet_layers_0_attention_to_q.diff_b": torch.zeros(2)}, files["odd"])
    wrong = loras.write(folder / "wrong.safetensors", ["blocks.0.self_attn.q"])
    extra = loras.write(
        folder / "extra.safetensors", [*loras.names(loras.Z_IMAGE), "layers.0.adaLN_modulation.0"]
    )
    return {
        "cut": (files["cut"], "is cut off"),
        "empty": (files["empty"], "is empty"),
        "text": (files["text"], "is no safetensors file"),
        "damaged": (files["damaged"], "no safetensors file|damaged"),
        "vae": (files["vae"], "holds no LoRA"),
        "half": (files["half"], "layers_1_attention_to_q has alpha, down only"),
        "odd": (files["odd"], r"diff_b besides its layers"),
        "gone": (folder / "gone.safetensors", "is not there"),
        "wrong": (
            wrong,
            "does not fit Z-Image: none of its layers is one that .* .blocks_0_self_attn_q",
        ),
        "extra": (extra, "1 of its 15 layers are none that musabi knows there .layers_0_adaLN_modulation_0"),
    }


@pytest.mark.parametrize(
    "case", ["cut", "empty", "text", "damaged", "vae", "half", "odd", "gone", "wrong", "extra"]
)
def test_what_cannot_be_converted_is_said_in_a_sentence_and_nothing_is_written(
    case: str, tmp_path: Path
) -> None:
    path, message = bad_files(tmp_path)[case]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RequestError, match=message) as said:
        to_comfyui(path, tmp_path / "out.safetensors", ZI)
    assert len(str(said.value).replace(".safetensors", "").split(". ")) <= 2
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_is_converted_already_or_would_be_overwritten_is_refused(tmp_path: Path) -> None:
    source = loras.write(tmp_path / "a.safetensors", loras.names(loras.Z_IMAGE))
    comfyui = to_comfyui(source, tmp_path / "b.safetensors", ZI).path
    with pytest.raises(RequestError, match="has ComfyUI's keys already"):
        to_comfyui(comfyui, tmp_path / "c.safetensors", ZI)
    for model in (ZI, None):
        with pytest.raises(RequestError, match="has the trainer's keys already"):
            to_native(source, tmp_path / "c.safetensors", model)
    with pytest.raises(RequestError, match="is the file to convert"):
        to_comfyui(source, source, ZI)


def test_the_child_process_ends_with_the_codes_of_every_verb(tmp_path: Path) -> None:
    from musabi.lora.command_line import command

    model = lora_model(load("z-image"))
    source = loras.write(tmp_path / "a.safetensors", loras.names(model.modules))

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *argv], capture_output=True, text=True, timeout=60)

    done = run(*command("to-comfyui", source, tmp_path / "b.safetensors", model))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/b.safetensors: 14 layers.\n"
    back = run(*command("to-native", tmp_path / "b.safetensors", tmp_path / "c.safetensors", model))
    assert back.returncode == 0
    wrong = run(*command("to-comfyui", tmp_path / "b.safetensors", tmp_path / "d.safetensors", model))
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == f"Error: {tmp_path}/b.safetensors has ComfyUI's keys already. Use it as it is.\n"
    assert run("-m", "musabi.lora", "to-comfyui").returncode == 2
    (tmp_path / "file").write_text("")
    closed = run(
        *command("to-native", tmp_path / "b.safetensors", tmp_path / "file" / "d.safetensors", model)
    )
    assert closed.returncode == 3 and closed.stderr.count("\n") == 1


def test_the_recipes_models_all_say_what_they_are(tmp_path: Path) -> None:
    for model in known_models():
        assert model.modules and model.form in ("dotted", "native")


@pytest.mark.slow
def test_a_large_file_is_converted_with_little_memory(tmp_path: Path) -> None:
    tensors = {}
    for n in range(5):
        tensors[f"lora_unet_layers_{n}_feed_forward_w1.lora_down.weight"] = torch.ones(64, 65536)
        tensors[f"lora_unet_layers_{n}_feed_forward_w1.lora_up.weight"] = torch.ones(65536, 64)
        tensors[f"lora_unet_layers_{n}_feed_forward_w1.alpha"] = torch.tensor(32.0)
    save_file(tensors, tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_size > 160e6
    program = (
        "import re, sys; from musabi.lora.__main__ import main; code = main(sys.argv[1:]);"
        "most = re.search('VmHWM:.*?([0-9]+)', open('/proc/self/status').read());"
        "print(most[1], file=sys.stderr); sys.exit(code)"
    )
    files = (str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors"))
    argv = ("to-comfyui", *files, "--modules", *loras.Z_IMAGE)
    done = subprocess.run([sys.executable, "-c", program, *argv], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stderr) < 130 * 1024, f"{int(done.stderr) // 1024} MiB"
