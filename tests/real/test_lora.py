"""Ours against musubi-tuner's own LoRA scripts: the same names, the same effect, the same averages."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from musabi.lora.convert import to_comfyui, to_native
from musabi.lora.ema import ema
from musabi.recipes.load import load
from musabi.recipes.lora_models import known_models, lora_model
from small import loras
from small.recipes import of_one_kind

torch = pytest.importorskip("torch")
from safetensors.torch import load_file  # noqa: E402

# The architectures whose names convert_lora.py of v0.3.4 gets right (checked against the models).
RIGHT = ("zi", "qi", "qie", "qil", "wan", "hv", "hv15", "i4")
NETWORKS = "src/musubi_tuner/networks"


def upstream(script: str, *argv: object) -> str:
    source = Path(os.environ["MUSUBI_SRC"])
    done = subprocess.run(
        [sys.executable, str(source / script), *map(str, argv)],
        env=os.environ | {"PYTHONPATH": str(source / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def alike(one: Path, other: Path, tolerance: float = 1e-5) -> None:
    """Assert that two files have the same keys and add the same."""
    assert load_file(one).keys() == load_file(other).keys()
    first, second = loras.deltas(one), loras.deltas(other)
    assert all(np.allclose(first[key], second[key], rtol=tolerance, atol=tolerance) for key in first)


def of_one_architecture(*wanted: str) -> list[str]:
    """Return a recipe for each set of layers among these architectures."""
    return of_one_kind(tuple(model for model in known_models() if model.architecture in wanted))


@pytest.mark.parametrize("name", of_one_architecture(*RIGHT))
def test_names_and_effect_are_convert_loras_where_it_is_right(name: str, tmp_path: Path) -> None:
    model = replace(lora_model(load(name)), form="dotted", prefix="diffusion_model", fused=())
    source = loras.write(tmp_path / "a.safetensors", loras.names(model.modules), ("lora", "loha", "lokr"))
    theirs, ours = tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors"
    upstream("convert_lora.py", "--input", source, "--output", theirs, "--target", "other")
    alike(to_comfyui(source, ours, model).path, theirs)
    back = tmp_path / "back.safetensors"
    upstream("convert_lora.py", "--input", ours, "--output", back, "--target", "default")
    alike(to_native(ours, tmp_path / "ours-back.safetensors", model).path, back)


@pytest.mark.parametrize("alpha", [2.0, 3.0])
def test_a_bf16_file_is_nearer_to_what_was_trained_than_convert_loras(alpha: float, tmp_path: Path) -> None:
    model = lora_model(load("z-image"))
    modules = loras.names(model.modules)
    source = loras.write(tmp_path / "a.safetensors", modules, dtype="bf16", alpha=alpha)
    upstream(
        "convert_lora.py", "--input", source, "--output", tmp_path / "t.safetensors", "--target", "other"
    )
    ours, theirs = (
        loras.deltas(to_comfyui(source, tmp_path / "o.safetensors", model).path),
        loras.deltas(tmp_path / "t.safetensors"),
    )
    wanted = loras.deltas(source)

    def error(found: dict[str, np.ndarray]) -> float:
        return sum(
            float(np.abs(found[f"diffusion_model.{m}"] - wanted[loras.native(m)]).sum()) for m in modules
        )

    assert error(ours) < error(theirs)


@pytest.mark.parametrize("kind", ["lora", "loha"])
def test_what_z_images_own_converter_fuses_is_taken_apart_to_the_last_digit(
    kind: str, tmp_path: Path
) -> None:
    model = lora_model(load("z-image"))
    source = loras.write(tmp_path / "a.safetensors", loras.names(model.modules), kind, dtype="bf16")
    fused = tmp_path / "fused.safetensors"
    upstream(f"{NETWORKS}/convert_z_image_lora_to_comfy.py", source, fused)
    assert any("attention_qkv" in key for key in load_file(fused))
    ours = load_file(to_native(fused, tmp_path / "ours.safetensors", model).path)
    before = load_file(source)
    assert ours.keys() == before.keys()
    assert all(torch.equal(ours[key], before[key]) for key in before)
    if kind == "lora":
        upstream(
            f"{NETWORKS}/convert_z_image_lora_to_comfy.py", fused, tmp_path / "t.safetensors", "--reverse"
        )
        alike(tmp_path / "ours.safetensors", tmp_path / "t.safetensors", 0)


@pytest.mark.parametrize("name", of_one_architecture("hv15"))
def test_what_hunyuan_video_15s_converter_fuses_is_taken_apart(name: str, tmp_path: Path) -> None:
    model = lora_model(load(name))
    source = loras.write(tmp_path / "a.safetensors", loras.names(model.modules))
    fused = tmp_path / "fused.safetensors"
    upstream(f"{NETWORKS}/convert_hunyuan_video_1_5_lora_to_comfy.py", source, fused)
    alike(to_native(fused, tmp_path / "ours.safetensors", model).path, source, 0)
    theirs = loras.deltas(fused)
    ours = loras.deltas(to_comfyui(source, tmp_path / "c.safetensors", model).path)
    joined = [name for name in ours if name.endswith("qkv")]
    assert len(joined) == 4
    for name in joined:
        other = theirs[loras.native(name.removeprefix("diffusion_model."))]
        assert np.allclose(ours[name], other, atol=1e-5)


@pytest.mark.parametrize("dtype", ["f32", "bf16"])
@pytest.mark.parametrize(
    "options", [{}, {"beta": 0.8, "beta2": 0.3}, {"sigma_rel": 0.2}], ids=["beta", "beta2", "sigma_rel"]
)
def test_the_average_is_the_scripts_to_the_last_digit(
    options: dict[str, float], dtype: str, tmp_path: Path
) -> None:
    modules = loras.names(loras.Z_IMAGE)
    paths = [
        loras.write(tmp_path / f"run-{n:06d}.safetensors", modules, seed=n, dtype=dtype) for n in range(1, 6)
    ]
    flags = [text for name, value in options.items() for text in (f"--{name}", value)]
    theirs, ours = tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors"
    upstream("lora_post_hoc_ema.py", *paths, "--no_sort", "--output_file", theirs, *flags)
    ema(list(reversed(paths)), ours, **options)  # type: ignore[arg-type]
    one, other = load_file(ours), load_file(theirs)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert loras.metadata(ours) == loras.metadata(theirs)
