"""From settings to caption files, by the worker in a process of its own."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from musabi.captioning.asked import Asked, caption, caption_missing, choose_model, say_and_go_on
from musabi.captioning.plan import Place, Plan, make_plan
from musabi.captioning.run import Outcome
from musabi.dataset.config import read_config
from musabi.errors import MachineError, RequestError
from musabi.settings import Settings, load

from .conftest import Models, draw, film


def settings(root: Path, **given: Any) -> Settings:
    """Return settings of a workspace at `root` and of the embedded engine: its Python is this one."""
    named = {"workspace": str(root), "engine": "diffusers"} | {n: str(v) for n, v in given.items()}
    return load({}, named)


def plan_of(folder: Path) -> Plan:
    return make_plan([Place(folder)])


def run(given: Settings, folder: Path, said: list[str] | None = None, **asked: Any) -> Outcome:
    tell = (said if said is not None else []).append
    wanted = Asked(**({"device": "cpu", "max_new_tokens": 8} | asked))
    return caption(given, plan_of(folder), wanted, say_and_go_on(tell), tell)


@pytest.mark.slow
@pytest.mark.xdist_group("captioning")
def test_a_run_captions_what_has_no_caption(models: Models, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for number in range(4):
        draw(images / f"{number}.png", (number * 50, 0, 0))
    (images / "2.txt").write_text("mine")
    (images / "bad.png").write_bytes(b"no picture")
    config = tmp_path / "dataset.toml"
    config.write_text(
        '[general]\nresolution = [64, 64]\ncaption_extension = ".txt"\nenable_bucket = true\n'
        f'[[datasets]]\nimage_directory = "{images}"\ncache_directory = "{tmp_path}/cache"\n'
    )
    given = settings(
        tmp_path, caption_model_path=models.llava, trigger_word="ohwx", caption_prefix="photo of"
    )
    said: list[str] = []
    assert caption_missing(given, read_config(config), said.append) == 3
    assert (images / "2.txt").read_text() == "mine"
    made = [(images / f"{number}.txt").read_text() for number in (0, 1, 3)]
    assert all(text.startswith("ohwx, photo of ") and text.count("\n") == 1 for text in made)
    assert sum(line.startswith(("0.png: ", "1.png: ", "3.png: ")) for line in said) == 3
    assert any("bad.png is not an image" in line for line in said)
    (images / "bad.png").unlink()
    assert caption_missing(given, read_config(config), said.append) == 0


@pytest.mark.slow
@pytest.mark.xdist_group("captioning")
def test_a_preview_writes_nothing(models: Models, tmp_path: Path) -> None:
    for number in range(5):
        draw(tmp_path / "images" / f"{number}.png", (number * 50, 0, 0))
    film(tmp_path / "images" / "9.mkv", [0, 100, 200])
    outcome = run(settings(tmp_path, caption_model_path=models.qwen3), tmp_path / "images", preview_only=True)
    assert sorted(one.item.file.name for one in outcome.preview) == ["0.png", "2.png", "9.mkv"]
    assert outcome.written == [] and list((tmp_path / "images").glob("*.txt")) == []


def test_an_environment_without_torch_is_named_as_such(models: Models, tmp_path: Path) -> None:
    images = draw(tmp_path / "images" / "a.png", (1, 1, 1)).parent
    trainer_python(tmp_path, "-S")  # no site-packages
    with pytest.raises(MachineError, match="lacks a package: ModuleNotFoundError: No module named 'torch'"):
        run(settings(tmp_path, caption_model_path=models.qwen3, engine="musubi"), images)


def trainer_python(workspace: Path, *flags: str) -> None:
    """Make this interpreter the trainer's in a workspace."""
    python = workspace / "musubi-tuner" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {" ".join((sys.executable, *flags))} "$@"\n')
    python.chmod(0o755)


def test_without_a_gpu_nothing_starts_unless_the_cpu_is_named(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = draw(tmp_path / "images" / "a.png", (1, 1, 1)).parent
    given = settings(tmp_path, caption_model_path=models.qwen3, engine="musubi")
    with pytest.raises(MachineError, match="musabi bootstrap"):
        run(given, images)
    trainer_python(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(MachineError, match="--device cpu"):
        run(given, images, device=None)


def test_a_folder_that_can_t_be_written_to_is_refused_before_the_model_is_loaded(
    tmp_path: Path, models: Models
) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    images = draw(tmp_path / "images" / "a.png", (1, 1, 1)).parent
    images.chmod(0o500)
    with pytest.raises(MachineError, match="read-only here"):
        run(settings(tmp_path, caption_model_path=models.qwen3), images)


@pytest.mark.parametrize(
    ("given", "files", "chosen"),
    [
        ({}, ["a.png"], "joycaption"),
        ({}, ["a.png", "b.mp4"], "qwen3-vl"),
        ({"caption_with": "qwen2.5-vl"}, ["a.png", "b.mp4"], "qwen2.5-vl"),
        ({"caption_with": "joycaption"}, ["a.png", "b.mp4"], None),
    ],
)
def test_the_model_is_the_one_that_is_named_or_fits_the_files(
    tmp_path: Path, given: dict[str, str], files: list[str], chosen: str | None
) -> None:
    (tmp_path / "images").mkdir()
    for name in files:
        (tmp_path / "images" / name).touch()
    plan = plan_of(tmp_path / "images")
    if chosen is None:
        with pytest.raises(RequestError, match=r"b\.mp4 is a video"):
            choose_model(settings(tmp_path, **given), plan)
    else:
        assert choose_model(settings(tmp_path, **given), plan).name == chosen


def test_a_folder_s_own_kind_chooses_the_model(tmp_path: Path, models: Models) -> None:
    images = draw(tmp_path / "images" / "a.png", (1, 1, 1)).parent
    given = settings(tmp_path, caption_model_path=models.qwen25)
    assert choose_model(given, plan_of(images)).name == "qwen2.5-vl"
