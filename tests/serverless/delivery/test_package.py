"""The files of a result have the names that clients look for, and the card tells no secret."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from musabi.errors import MachineError
from musabi.serverless.context import Context
from musabi.serverless.delivery.package import make_archive, pack
from musabi.serverless.parts import Trained

SAMPLES = [f"samples/ohwx_e000004_{n:02d}_2026013114050{n}_42.png" for n in range(2)]
NAMES = ["adapter_model.safetensors", "adapter_config.json", "native/ohwx.safetensors", *SAMPLES, "README.md"]


def test_the_files_are_those_that_clients_look_for(
    job: Callable[..., Context], trained: Trained, tmp_path: Path
) -> None:
    pieces = pack(job({"method": "volume"}, {}), trained, tmp_path / "made")
    assert [one.name for one in pieces] == NAMES
    assert pieces[0].path == trained.comfy and pieces[2].path == trained.native
    config = json.loads(pieces[1].path.read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 4, 4)
    assert config["target_modules"] == ["attention.to_k", "attention.to_q"]
    assert config["base_model_name_or_path"] == trained.base_model


def test_the_card_says_how_to_use_it_and_hides_what_is_secret(
    job: Callable[..., Context], trained: Trained, folder: object, tmp_path: Path
) -> None:
    secrets = {
        "output.huggingface.token": "ohwx person"
    }  # a secret that stands in the prompts, of all things
    context = job({"method": "huggingface", "huggingface": {"repo_id": "tester/lora"}}, secrets)
    pieces = pack(context, trained, tmp_path / "made", "tester/lora")
    text = pieces[-1].path.read_text()
    assert "# lora" in text and "adapter\\_model.safetensors" in text and SAMPLES[0] in text
    assert "ohwx person" not in text and "in the rain" in text
    assert f'base_model: "{trained.base_model}"' in text and "load_lora_weights('tester/lora'" in text
    assert "| learning\\_rate | 0.0001 |" in text and "example.com" not in text
    in_archive = pack(context, trained, tmp_path / "more")[-1].path.read_text()
    assert "tester/lora" not in in_archive and "# ohwx" in in_archive


def test_the_same_files_make_the_same_archive(
    job: Callable[..., Context], trained: Trained, tmp_path: Path
) -> None:
    pieces = pack(job({"method": "volume"}, {}), trained, tmp_path / "made")
    first = make_archive(pieces, tmp_path / "a.zip", "epoch4")
    second = make_archive(pieces, tmp_path / "b.zip", "epoch4")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert archive.namelist() == [f"epoch4/{name}" for name in NAMES]
        assert archive.read("epoch4/adapter_model.safetensors") == trained.comfy.read_bytes()
        assert archive.testzip() is None


def test_a_disk_without_room_is_said_before_the_archive_is_written(
    job: Callable[..., Context], trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = pack(job({"method": "volume"}, {}), trained, tmp_path / "made")
    huge = [replace(one, size=10**18) for one in pieces]
    with pytest.raises(MachineError, match="too small"):
        make_archive(huge, tmp_path / "a.zip", "epoch4")
    assert not list(tmp_path.glob("*.zip*"))
