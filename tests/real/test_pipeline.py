"""The real musubi-tuner, driven by the product's own wrappers on the CPU: from bootstrap to ComfyUI's file."""

import json
import math
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from musabi.contract import committed
from musabi.engines.musubi.contract import Installed
from musabi.engines.musubi.environment import FACTS_NAME
from musabi.engines.musubi.rehearse import made_up_facts
from musabi.engines.musubi.training import launch_environment
from musabi.recipes import load
from musabi.watch.scalars import event_files, read_scalars
from musabi.whole import is_whole_safetensors, safetensors_header

STEPS_AN_EPOCH = 3
WARMUP = 1
RATE = 1e-3


def keys(path: Path) -> list[str]:
    header = safetensors_header(path)
    assert header is not None
    return sorted(name for name in header[1] if name != "__metadata__")


def metadata(path: Path) -> dict[str, str]:
    header = safetensors_header(path)
    assert header is not None
    found: dict[str, str] = header[1]["__metadata__"]
    return found


def logged(pod: Any, name: str, tag: str) -> list[tuple[int, float]]:
    """Return all (step, value) that the legs of a training logged, the last leg's last."""
    folders = sorted(pod.space.logs.glob(f"{name}-*"))
    series = [read_scalars(event_files(folder)).get(tag) for folder in folders]
    return [pair for part in series if part is not None for pair in zip(part.steps, part.values, strict=True)]


def test_the_bootstrap_makes_an_environment_that_trains(pod: Any) -> None:
    facts = json.loads((pod.space.checkout / ".venv" / FACTS_NAME).read_text())
    assert facts["torch"].startswith("2.13.0")
    assert {"prodigyopt", "tensorboard", "bitsandbytes"} <= set(facts["packages"])
    assert facts["flash_attn"] is False
    assert "environment" in pod.run("bootstrap.sh")


def test_the_trainer_is_started_with_what_accelerate_launch_sets(pod: Any, tmp_path: Path) -> None:
    """The launcher itself, asked what it gives its child."""
    child = tmp_path / "child.py"
    child.write_text("import os, json; print('CHILD' + json.dumps(dict(os.environ)))")
    launch = (
        "-m",
        "accelerate.commands.launch",
        "--mixed_precision",
        "bf16",
        "--num_cpu_threads_per_process",
        "1",
    )
    text = pod.run(str(pod.python), *launch, str(child))
    given = json.loads(next(line[5:] for line in text.splitlines() if line.startswith("CHILD")))
    mine = {name: value for name, value in given.items() if name.startswith("ACCELERATE_")}
    assert mine == launch_environment(made_up_facts(pod.space, Installed(committed())), load("z-image"))
    assert given["OMP_NUM_THREADS"] == "1"


def test_caches_are_made_once(prepared: Any) -> None:
    assert len(list(prepared.space.cache.glob("*_zi.safetensors"))) == 6
    assert len(list(prepared.space.cache.glob("*_zi_te.safetensors"))) == 6
    before = {path: path.stat().st_mtime_ns for path in prepared.space.cache.glob("*.safetensors")}
    prepared.run("prepare_dataset.sh")
    assert {path: path.stat().st_mtime_ns for path in prepared.space.cache.glob("*.safetensors")} == before


def test_a_changed_caption_is_cached_again_though_the_trainer_would_skip_it(prepared: Any) -> None:
    caption = next(prepared.space.images.glob("*.txt"))
    cached = prepared.space.cache / f"{caption.stem}_zi_te.safetensors"
    others = {path: path.stat().st_mtime_ns for path in prepared.space.cache.glob("*_te.safetensors")}
    caption.write_text("another robot\n")
    prepared.run("prepare_dataset.sh")
    assert metadata(cached)["caption1"] == "another robot"
    changed = {path for path, made in others.items() if path.stat().st_mtime_ns != made}
    assert changed == {cached}


def test_three_steps_of_prodigy(trained: Any) -> None:
    lora = trained.space.output / "three.safetensors"
    assert is_whole_safetensors(lora)
    names = keys(lora)
    assert all(
        re.fullmatch(r"lora_unet_layers_\d+_\w+\.(alpha|lora_(down|up)\.weight)", name) for name in names
    )
    found = metadata(lora)
    assert (found["ss_steps"], found["ss_network_dim"], found["ss_base_model_version"]) == (
        "3",
        "4",
        "z_image",
    )
    assert found["ss_optimizer"].startswith("prodigyopt.prodigy.Prodigy(")
    assert (trained.space.output / "three-state").is_dir()
    assert [path.suffix for path in (trained.space.output / "sample").glob("three_e000001_00_*")] == [".png"]
    assert not (trained.space.output / ".three.writing").exists()
    assert [step for step, _ in logged(trained, "three", "lr/d*lr/unet")] == [1, 2, 3]


def test_a_trained_lora_is_converted(trained: Any) -> None:
    trained.run("convert_lora.sh", str(trained.space.output / "three.safetensors"))
    names = keys(trained.space.output / "comfyui" / "three.safetensors")
    assert len(names) == len(keys(trained.space.output / "three.safetensors")) * 2 // 3
    assert all(name.startswith("diffusion_model.layers.") for name in names)
    assert {name.rpartition(".lora_")[2] for name in names} == {"A.weight", "B.weight"}


def test_a_killed_training_goes_on_as_if_nothing_had_happened(prepared: Any) -> None:
    """Step counts, file names, metadata and learning rates are those of an uninterrupted run."""
    epochs = 10
    job = {
        "OUTPUT_NAME": "killed",
        "MAX_TRAIN_EPOCHS": str(epochs),
        "SAVE_EVERY_N_EPOCHS": "2",
        "LEARNING_RATE": str(RATE),
        "KEEP_LAST_STATES": "9",
    }
    started = prepared.run("train_lora_adamw8bit.sh", "--detach", "--json", **job)
    folder = Path(json.loads(started[started.index("{") :])["folder"])
    wait_for(prepared.space.output / "killed-000004-state")
    kill_all(folder)
    left = json.loads((folder / "record.json").read_text())
    assert left["state"] == "running"
    prepared.run("train_lora_adamw8bit.sh", "--resume", **job)

    output = prepared.space.output
    names = sorted(path.name for path in output.glob("killed*"))
    checkpoints = [f"killed-{epoch:06d}.safetensors" for epoch in (2, 4, 6, 8)]
    states = [f"killed-{epoch:06d}-state" for epoch in (2, 4, 6, 8)]
    assert names == sorted([*checkpoints, *states, "killed.safetensors", "killed-state"])
    assert not (output / ".killed.writing").exists()
    found = metadata(output / "killed-000008.safetensors")
    assert (found["ss_epoch"], found["ss_steps"], found["ss_num_epochs"]) == ("8", "24", "10")

    total = epochs * STEPS_AN_EPOCH
    warmup = total // 10
    rates = dict(logged(prepared, "killed", "lr/unet"))
    assert sorted(rates) == list(range(1, total + 1))
    for step, rate in rates.items():
        assert rate == pytest.approx(uninterrupted(step, warmup, total), rel=1e-5, abs=1e-12)
    assert sorted(dict(logged(prepared, "killed", "loss/epoch"))) == list(range(1, epochs + 1))


def uninterrupted(step: int, warmup: int, total: int) -> float:
    """Return the learning rate after `step` steps: linear warm-up, then one cosine (transformers' formula)."""
    if step < warmup:
        return RATE * step / warmup
    progress = (step - warmup) / (total - warmup)
    return 0.0 if progress >= 1 else RATE * 0.5 * (1 + math.cos(math.pi * (progress % 1)))


def wait_for(path: Path, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not appear"
        time.sleep(0.05)


def kill_all(folder: Path) -> None:
    """SIGKILL the runner and everything under it, as a pod that goes away does."""
    runner = json.loads((folder / "record.json").read_text())["pid"]
    for pid in [runner, *descendants(runner)]:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{runner}/stat").exists() and not is_zombie(runner):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [below for child in children for below in descendants(child)]


def is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_loss_of_the_tokenizer_is_named_before_anything_is_loaded(prepared: Any) -> None:
    caption = next(prepared.space.images.glob("*.txt"))
    caption.write_text("yet another robot\n")
    text = prepared.run("prepare_dataset.sh", code=3, HF_HOME=str(prepared.space.root / "no-cache"))
    assert "tokenizer" in text
    assert "musabi models download z-image" in text
    prepared.run("prepare_dataset.sh")


def test_a_failure_of_the_real_trainer_is_one_sentence(prepared: Any) -> None:
    broken = prepared.space.models / "dit" / "vae-in-its-place.safetensors"
    broken.write_bytes((prepared.space.models / "vae" / "ae.safetensors").read_bytes())
    text = prepared.run(
        "train_lora_prodigy.sh", code=2, DIT_PATH=str(broken), OUTPUT_NAME="broken", MAX_TRAIN_EPOCHS="1"
    )
    assert "belongs to another model" in text
    assert "Traceback" not in text
