"""What diffusion-pipe saved gets the names that every LoRA here has."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from musabi.engines.diffusion_pipe.results import take
from musabi.errors import TrainerError

KEYS = {
    "lora.safetensors": ("lora_unet_down_blocks_1_attn_to_q.", "lora_down.weight", "lora_up.weight"),
    "pytorch_lora_weights.safetensors": ("transformer.blocks.0.attn.to_q.", "lora_A.weight", "lora_B.weight"),
    "adapter_model.safetensors": ("diffusion_model.blocks.0.attn.q.", "lora_A.weight", "lora_B.weight"),
}


def saved(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True)
    layer, *ends = KEYS[name]
    tensors = {layer + end: np.zeros((4, 4), np.float32) for end in ends}
    if name == "lora.safetensors":
        tensors[f"{layer}alpha"] = np.array(4.0, np.float32)
    save_file(tensors, folder / name, metadata={"format": "pt"})
    (folder / "job.toml").write_text("epochs = 1\n")
    return folder


@pytest.mark.parametrize("name", KEYS)
def test_each_kind_of_file_comes_under_the_lora_name(tmp_path: Path, name: str) -> None:
    output = tmp_path / "output"
    first = take(saved(tmp_path / "epoch2", name), output, "lora", 2, 20)
    last = take(saved(tmp_path / "epoch3", name), output, "lora", None, 30)
    assert (first.path.name, first.epoch, first.step) == ("lora-000002.safetensors", 2, 20)
    assert (last.path.name, last.epoch, last.kind) == ("lora.safetensors", None, "checkpoint")
    assert not (tmp_path / "epoch2").exists()
    assert sorted(path.name for path in output.iterdir()) == [
        "lora-000002.safetensors",
        "lora.safetensors",
    ]


def test_a_piece_of_a_file_is_no_lora(tmp_path: Path) -> None:
    folder = saved(tmp_path / "epoch1", "adapter_model.safetensors")
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(TrainerError, match="epoch1"):
        take(folder, tmp_path / "output", "lora", 1, 10)
    assert not (tmp_path / "output" / "lora-000001.safetensors").exists()
