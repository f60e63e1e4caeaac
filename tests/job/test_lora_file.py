"""Telling a LoRA from other files by its header."""

import json
from pathlib import Path

import pytest

from musabi.errors import RequestError
from musabi.job.lora_file import read_lora


def write(path: Path, keys: dict[str, list[int]], cut: int = 0) -> Path:
    """Write a safetensors file of float32 zeros with these keys and shapes."""
    header, end = {}, 0
    for name, shape in keys.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.write_bytes((len(text).to_bytes(8, "little") + text + bytes(end))[: -cut or None])
    return path


def test_native_and_comfyui_keys_are_told_apart(tmp_path: Path) -> None:
    native = read_lora(
        write(tmp_path / "n.safetensors", {"lora_unet_layers_0_attention_to_q.lora_down.weight": [8, 4]})
    )
    comfy = read_lora(
        write(tmp_path / "c.safetensors", {"diffusion_model.layers.0.attention.to_q.lora_A.weight": [4, 4]})
    )
    assert (native.keys, native.rank) == ("native", 8)
    assert (comfy.keys, comfy.rank) == ("comfyui", 4)


def test_a_model_that_is_no_lora_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="holds no LoRA"):
        read_lora(write(tmp_path / "vae.safetensors", {"encoder.conv_in.weight": [4, 4]}))


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_text("a note about LoRAs, long enough to hold a length")
    with pytest.raises(RequestError, match="is no safetensors file"):
        read_lora(tmp_path / "x.safetensors")


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", {"a.lora_down.weight": [8, 4]}, cut=5)
    with pytest.raises(RequestError, match="is cut off"):
        read_lora(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"x\.safetensors is not there"):
        read_lora(tmp_path / "x.safetensors")
