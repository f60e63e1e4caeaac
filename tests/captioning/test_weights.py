"""Where a captioning model lies, and what is wrong with one that can't be used."""

import json
import os
from pathlib import Path

import pytest

from musabi.captioning.models import BY_NAME
from musabi.captioning.weights import fetch_model, find_model
from musabi.errors import MachineError, RequestError
from peers.loopback_hub import running_hub

ROW = BY_NAME["qwen3-vl"]


def write_model(folder: Path, kind: str = "qwen3_vl", shards: int = 2) -> Path:
    """Write a folder in the layout of a hub repo: empty tensors files, whole by their headers."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    (folder / "tokenizer_config.json").write_text("{}")
    names = [f"model-{n:05d}-of-{shards:05d}.safetensors" for n in range(1, shards + 1)]
    for name in names:
        (folder / name).write_bytes((2).to_bytes(8, "little") + b"{}")
    index = {"weight_map": {f"layer{n}": name for n, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def cached(home: Path) -> Path:
    repo = home / "hub" / "models--Qwen--Qwen3-VL-8B-Instruct"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc")
    return repo / "snapshots" / "abc"


def test_a_model_in_the_hub_cache_is_found(tmp_path: Path) -> None:
    folder = write_model(cached(tmp_path))
    found = find_model(ROW, None, {"HF_HOME": str(tmp_path)})
    assert found.model == found.processor == folder
    assert found.size == 20


def test_a_model_that_is_not_here_is_named_with_its_size_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"17\.5 GB: musabi models download Qwen/Qwen3-VL-8B-Instruct"):
        find_model(ROW, None, {"HF_HOME": str(tmp_path)})


def test_a_model_that_came_only_in_part_is_not_taken(tmp_path: Path) -> None:
    folder = write_model(cached(tmp_path))
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(MachineError, match="not whole: model-00002-of-00002"):
        find_model(ROW, None, {"HF_HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("nowhere", "is not there"),
        ("kind", "of the kind llama, and qwen3-vl is of qwen3_vl"),
        ("weights", "holds no model.safetensors"),
        ("config", "holds no config.json"),
        ("tokenizer", "holds no tokenizer_config.json"),
    ],
)
def test_a_wrong_model_path_is_refused_before_anything_starts(tmp_path: Path, harm: str, said: str) -> None:
    folder = tmp_path / "model"
    if harm != "nowhere":
        write_model(folder, kind="llama" if harm == "kind" else "qwen3_vl")
    if harm == "weights":
        (folder / "model.safetensors.index.json").unlink()
    if harm in ("config", "tokenizer"):
        (folder / {"config": "config.json", "tokenizer": "tokenizer_config.json"}[harm]).unlink()
    with pytest.raises(RequestError, match=said) as told:
        find_model(ROW, folder, {"HF_HOME": str(tmp_path)})
    assert "CAPTION_MODEL_PATH" in str(told.value)


def test_fetch_brings_what_is_needed_into_the_hub_cache_and_no_more(tmp_path: Path) -> None:
    files = {file.name: file.read_bytes() for file in write_model(tmp_path / "repo").iterdir()}
    told: list[str] = []
    with running_hub() as hub:
        hub.add(ROW.repo, files | {"README.md": b"words", "original.pth": b"heavy"})
        environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url, "HF_TOKEN": ""}
        fetch_model(ROW, environment, 4, told.append)
        found = find_model(ROW, None, environment)
    assert sorted(file.name for file in found.model.iterdir()) == sorted(files)
    assert "about 17.5 GB" in told[0]
