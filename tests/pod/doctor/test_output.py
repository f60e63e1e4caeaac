"""ComfyUI finds a LoRA's parts by the form of its keys; the newest converted file is looked at."""

import json
import os
from pathlib import Path

from musabi.pod.doctor import output
from small.machine import Machine

MODULE = "diffusion_model.layers.0.attention.to_q"
GOOD = [f"{MODULE}.lora_A.weight", f"{MODULE}.lora_B.weight"]


def lora(path: Path, keys: list[str], cut: int = 0) -> Path:
    """Write a safetensors file of small tensors under these keys."""
    entries = {
        key: {"dtype": "F32", "shape": [4, 4], "data_offsets": [64 * number, 64 * number + 64]}
        for number, key in enumerate(keys)
    }
    header = json.dumps(entries | {"__metadata__": {"a": "b"}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(64 * len(keys) - cut))
    return path


def test_where_nothing_was_converted_there_is_nothing_to_say(machine: Machine) -> None:
    (found,) = output.look(machine.scene())
    assert (found.state, found.what) == ("ok", "no converted LoRA yet")


def test_the_newest_file_is_the_one_that_counts(machine: Machine) -> None:
    folder = machine.workspace / "output" / "comfyui"
    os.utime(lora(folder / "old.safetensors", ["lora_unet_x.lora_down.weight"]), (1, 1))
    lora(folder / "new.safetensors", GOOD)
    lora(folder / ".new.part.safetensors", [])
    (found,) = output.look(machine.scene())
    assert found.what == "new.safetensors has ComfyUI's keys (rank 4, 1 modules)"


def test_native_keys_are_not_comfyuis(tmp_path: Path) -> None:
    keys = ["lora_unet_layers_0_attention_to_q.lora_down.weight", "lora_unet_layers_0_attention_to_q.alpha"]
    assert output.judge(lora(tmp_path / "a.safetensors", keys)).name == "output.native"


def test_keys_that_comfyui_leaves_out_are_counted(tmp_path: Path) -> None:
    for more in (f"{MODULE}.alpha", "transformer.x.lora_A.weight", "diffusion_model.y.lora_A.weight"):
        found = output.judge(lora(tmp_path / "a.safetensors", [*GOOD, more]))
        assert found.name == "output.odd" and found.what.startswith("1 of its 3 keys") and more in found.what


def test_a_file_that_is_cut_off_or_no_lora_is_broken(tmp_path: Path) -> None:
    assert output.judge(lora(tmp_path / "a.safetensors", GOOD, cut=1)).name == "output.broken"
    assert output.judge(lora(tmp_path / "b.safetensors", ["weight"])).name == "output.broken"
    (tmp_path / "c.safetensors").write_bytes(b"nonsense")
    assert output.judge(tmp_path / "c.safetensors").name == "output.broken"
