"""The plan of what stands in the form: a child's answer in words, refusals at their field, the newest question wins."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from musabi.watch.page.train import TRAIN
from musabi.watch.page.train_plan import Planner, answer, chosen, field_of, mend, refusal
from small.model import TOML, draw_images
from small.page import Browser, make_scene
from small.standing import HOSTILE


def environ_with(**more: str) -> dict[str, Any]:
    return os.environ | more


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ('NETWORK_DIM is "-1", but it must be at least 1.', "network_dim"),
        ('There is no recipe for the model "x". List all with: musabi models list', "model"),
        ("/ws/dataset/dataset.toml is not there. Set DATASET_CONFIG to where it lies.", "dataset_config"),
        ("The diffusers engine trains z-image only. For x, set ENGINE=musubi.", "engine"),
        ("The disk is full.", ""),
        ("A GPU of NVIDIA is needed.", ""),
    ],
)
def test_a_refusal_names_its_field(message: str, field: str) -> None:
    assert field_of(message) == field


def test_a_refusal_leads_to_the_page_where_it_is_mended(tmp_path: Path) -> None:
    bare = "2 images in /ws/images without a .txt caption file: a.png, b.png. Write the captions."
    assert mend("The dataset config /ws/dataset.toml is not there. Make one.") == (
        "pod#bootstrap",
        "Set the workspace up on the page Pod.",
    )
    assert mend("The disk is full.") is None
    assert '<a href="dataset">' in refusal(bare, make_scene(tmp_path))["html"]


def test_a_plan_says_what_it_takes_and_why_where_a_field_is_empty(tmp_path: Path) -> None:
    root = tmp_path / "ws"
    draw_images(root / "dataset" / "images")
    toml = TOML.format(images=root / "dataset" / "images", cache=root / "dataset" / "cache")
    (root / "dataset" / "dataset.toml").write_text(toml)
    (root / "output").mkdir()
    (root / "output" / "robot-000002.safetensors").write_bytes(b"x")
    scene = make_scene(tmp_path, **environ_with(ENGINE="diffusers", CUDA_VISIBLE_DEVICES=""))
    page = Browser(scene, (TRAIN,))
    values = {"output_name": "robot", "max_train_epochs": "4", "network_dim": "8"}
    found = page.change("/train-plan", {"values": values}).json()
    assert found["ready"] and found["there"] == ["robot-000002.safetensors"]
    assert "12 steps" in found["html"] and "4 epochs, 3 steps an epoch" in found["html"]
    assert "unknown" in found["html"] and "$" not in found["html"]
    assert "musabi train --output-name=robot --epochs=4 --set=network_dim=8" in found["html"]
    assert "make-tiny" in found["html"], "weights that are not here are named"
    fields = found["fields"]
    assert fields["network_alpha"] == {"value": "16", "why": "what the model's recipe takes"}
    assert fields["engine"] == {"value": "diffusers", "why": "ENGINE in the environment"}
    assert fields["save_every_n_epochs"] == {"value": "1", "why": "about ten checkpoints a run"}
    assert fields["max_train_steps"]["value"] == "12"
    wrong = page.change("/train-plan", {"values": values | {"network_alpha": "-3"}}).json()
    assert (wrong["ready"], wrong["field"]) == (False, "network_alpha")
    assert escape(wrong["message"]) in wrong["html"]


def test_what_was_typed_is_shown_escaped_and_secrets_never(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, **environ_with(HF_TOKEN="hf_verysecret"))
    found = answer(scene, {"model": f"{HOSTILE} hf_verysecret"})
    assert not found["ready"] and found["field"] == "model"
    assert "<script>" not in found["html"] and "&lt;script&gt;" in found["html"]
    assert "verysecret" not in str(found)


def test_the_newest_question_wins_and_there_are_never_two_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "stand-in" / "musabi"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import json, pathlib, sys, time\n"
        f"place = pathlib.Path({str(tmp_path / 'going')!r})\n"
        "if sys.argv[1] == 'slow':\n    place.touch()\n    time.sleep(60)\n"
        "print(json.dumps({'asked': sys.argv[1]}))\n"
    )
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "stand-in")}
    planner, answers = Planner(), dict[str, Any]()
    slow = threading.Thread(target=lambda: answers.update(slow=planner.ask(["slow"], environ)))
    slow.start()
    until = time.monotonic() + 20
    while not (tmp_path / "going").exists() and time.monotonic() < until:
        time.sleep(0.02)
    began = time.monotonic()
    assert planner.ask(["quick"], environ) == {"asked": "quick"}
    slow.join(10)
    assert answers == {"slow": None} and time.monotonic() - began < 20


def test_a_setting_that_is_off_says_so_and_caching_is_a_setting_too() -> None:
    job = {
        "compile": False,
        "seed": 42,
        "learning_rate": 1e-4,
        "caching": {"latent_batch_size": 3},
        "trigger_word": None,
    }
    found = chosen({"choices": []}, job, {})
    assert {name: one["value"] for name, one in found.items()} == {
        "compile": "off",
        "seed": "42",
        "learning_rate": "0.0001",
        "latent_batch_size": "3",
    }


def test_what_may_hold_a_key_stands_on_no_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], Any]] = []
    monkeypatch.setattr(Planner, "ask", lambda _self, words, environ: asked.append((words, environ)))
    values = {"output_name": "robot", "extra_train_args": "--wandb_api_key=abcdefgh"}
    assert answer(make_scene(tmp_path), values) == {"late": True}
    words, environ = asked[0]
    assert "abcdefgh" not in " ".join(words) and "--output-name=robot" in words
    assert environ["EXTRA_TRAIN_ARGS"] == "--wandb_api_key=abcdefgh"
