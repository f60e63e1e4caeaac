"""The small model: Z-Image's files and names, everything from the seed, nothing overwritten."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from musabi.engines.diffusers import make_tiny
from musabi.errors import RequestError
from musabi.workspace import Workspace

FILES = {
    "dit/diffusion_pytorch_model-00001-of-00002.safetensors",
    "dit/diffusion_pytorch_model-00002-of-00002.safetensors",
    "vae/ae.safetensors",
    "text_encoder/model-00001-of-00003.safetensors",
    "text_encoder/model-00002-of-00003.safetensors",
    "text_encoder/model-00003-of-00003.safetensors",
    "text_encoder/tokenizer/vocab.json",
    "text_encoder/tokenizer/merges.txt",
    "text_encoder/tokenizer/tokenizer_config.json",
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_tiny, "STEPS", 1)
    monkeypatch.setattr(make_tiny, "PICTURES", 38)
    monkeypatch.setattr(make_tiny, "SIDE", 64)


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


def make(folder: Path, seed: int = 1) -> list[str]:
    said: list[str] = []
    make_tiny.make_tiny(folder, folder / "hf", seed=seed, say=said.append)
    return said


@pytest.mark.usefixtures("quick")
def test_the_seed_alone_decides_every_byte(tmp_path: Path) -> None:
    import torch

    make(tmp_path / "a")
    torch.rand(5)
    make(tmp_path / "b")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


@pytest.mark.usefixtures("quick")
def test_a_whole_model_is_kept_and_a_broken_one_made_anew(tmp_path: Path, models: Any) -> None:
    made = json.loads((models.folder / "tiny.json").read_text())
    assert set(made["files"]) == FILES
    before = models.dit.stat().st_mtime_ns
    assert make(models.folder, seed=42) == [f"The small model in {models.folder} is there already."]
    assert models.dit.stat().st_mtime_ns == before
    make(tmp_path)
    (tmp_path / "vae/ae.safetensors").unlink()
    assert len(make(tmp_path)) > 1
    assert (tmp_path / "vae/ae.safetensors").is_file()


def test_other_weights_are_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "dit/diffusion_pytorch_model-00001-of-00002.safetensors"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(RequestError, match="holds other weights, which the small model would replace"):
        make(tmp_path)
    assert path.stat().st_size == 65 * 2**20


def test_the_tokenizer_is_put_where_musubi_tuner_looks_for_it(models: Any) -> None:
    repo = models.folder / "hf/hub/models--Tongyi-MAI--Z-Image"
    revision = (repo / "refs/main").read_text()
    assert len(revision) == 40
    names = {path.name for path in (repo / "snapshots" / revision / "tokenizer").iterdir()}
    assert names == {"vocab.json", "merges.txt", "tokenizer_config.json"}


def test_a_tokenizer_that_is_there_is_kept(tmp_path: Path, models: Any) -> None:
    main = tmp_path / "hub/models--Tongyi-MAI--Z-Image/refs/main"
    main.parent.mkdir(parents=True)
    main.write_text("0" * 40)
    make_tiny.make_tiny(models.folder, tmp_path, seed=42, say=lambda text: None)
    assert main.read_text() == "0" * 40
    assert not (tmp_path / "hub/models--Tongyi-MAI--Z-Image/snapshots").exists()


def test_the_tokenizer_speaks_qwens_chat_form(models: Any) -> None:
    from musabi.engines.diffusers import loading

    tokenizer = loading.load_tokenizer(models.text_encoder)
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "ohwx robot, ünï 猫"}], tokenize=False, add_generation_prompt=True
    )
    assert chat == "<|im_start|>user\nohwx robot, ünï 猫<|im_end|>\n<|im_start|>assistant\n"
    numbers = tokenizer(chat).input_ids
    assert tokenizer.decode(numbers) == chat
    assert max(numbers) < 512
    vocabulary = json.loads((models.text_encoder.parent / "tokenizer/vocab.json").read_text())
    config = json.loads((models.text_encoder.parent / "tokenizer/tokenizer_config.json").read_text())
    for number, token in config["added_tokens_decoder"].items():
        assert tokenizer.convert_tokens_to_ids(token["content"]) == int(number) >= len(vocabulary)


def test_the_vae_gives_back_what_it_was_given(models: Any) -> None:
    import random

    import numpy
    import torch

    from musabi.engines.diffusers import drawings, loading

    vae = loading.load_vae(models.vae, torch.device("cpu"))
    picture, _ = drawings.draw_robot(random.Random(99), 64)  # noqa: S311
    given = torch.from_numpy(numpy.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        latents = vae.encode(given).latent_dist.mode()
        back = vae.decode(latents).sample
    assert latents.shape == (1, 16, 8, 8)
    assert float((back - given).abs().mean()) < 0.25
    assert 1.5 < float(latents.std()) < 4.5


def test_the_demo_dataset_is_drawn_once_and_replaces_nothing(tmp_path: Path) -> None:
    from musabi.dataset.config import read_config
    from musabi.dataset.items import scan
    from musabi.dataset.prompts import read_prompts
    from musabi.engines.diffusers.demo_data import make_demo_dataset

    space = Workspace(tmp_path)
    space.dataset_config.parent.mkdir(parents=True)
    space.dataset_config.write_text("# the template\n")
    make_demo_dataset(space, seed=1)
    assert (space.dataset_config.parent / "dataset.toml.before-demo").read_text() == "# the template\n"
    found = scan(read_config(space.dataset_config).datasets[0])
    assert len(found.items) == 12
    assert all(item.caption.startswith("ohwx robot on a ") for item in found.items)
    assert [prompt.width for prompt in read_prompts(space.sample_prompts)] == [128, 128, 128]
    (space.images / "robot_01.txt").write_text("mine")
    space.dataset_config.write_text("mine")
    make_demo_dataset(space, seed=1)
    assert (space.images / "robot_01.txt").read_text() == "mine"
    assert space.dataset_config.read_text() == "mine"
