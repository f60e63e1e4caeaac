"""One job all the way through the command line, on the embedded engine and a small model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from small.space import Space

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("commands")]


def names(folder: Path, pattern: str = "*") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def test_a_job_file_becomes_a_trained_converted_sampled_lora_and_a_report(empty: Space) -> None:
    job = empty.root / "job.toml"
    job.write_text('optimizer = "prodigy"\noutput_name = "robot"\nmax_train_epochs = 2\n')
    printed = empty.ok("run", job)
    assert names(empty.output, "*.safetensors") == ["robot-000001.safetensors", "robot.safetensors"]
    assert names(empty.output / "comfyui") == names(empty.output, "*.safetensors")
    assert len(names(empty.output / "sample", "*.png")) == 1
    assert (empty.output / "robot-report.html").stat().st_size > 10_000
    assert "Cache the latents" in printed and "step" in printed
    assert list((empty.root / "logs").rglob("*tfevents*"))
    status = empty.status()
    assert (status["state"], status["exit_code"]) == ("done", 0)
    kinds = {file["kind"] for file in status["files"]}
    assert kinds == {"checkpoint", "state", "converted", "sample"}


def test_a_job_that_ended_after_its_training_goes_on_with_the_rest(space: Space) -> None:
    job = space.root / "job.toml"
    job.write_text('output_name = "robot"\nmax_train_epochs = 2\n')
    space.output.mkdir(exist_ok=True)
    in_the_way = space.output / "comfyui"
    in_the_way.write_text("not a folder")
    code, _ = space.refused("run", job)
    assert code == 3 and names(space.output, "*.safetensors") == [
        "robot-000001.safetensors",
        "robot.safetensors",
    ]
    in_the_way.unlink()
    trained = (space.output / "robot.safetensors").stat().st_mtime_ns
    printed = space.ok("run", job, "--resume")
    assert names(in_the_way) == ["robot-000001.safetensors", "robot.safetensors"]
    assert (space.output / "robot.safetensors").stat().st_mtime_ns == trained and "Train" not in printed
    code, message = space.refused("run", job, "--resume")
    assert code == 2 and "is done, all 6 steps of it" in message

    # With more epochs, every checkpoint of both runs is converted.
    job.write_text('output_name = "robot"\nmax_train_epochs = 3\n')
    space.ok("run", job, "--resume")
    assert (
        names(in_the_way)
        == names(space.output, "*.safetensors")
        == [
            "robot-000001.safetensors",
            "robot-000002.safetensors",
            "robot.safetensors",
        ]
    )


def test_lora_keys_are_musubis_and_converted_keys_are_comfyuis(
    space: Space, tensors: Callable[[Path], dict[str, Any]]
) -> None:
    space.ok("train")
    code, message = space.refused("convert", "demo.safetensors", "flat")
    assert code == 2 and "must end in .safetensors" in message
    space.ok("convert", "demo.safetensors")
    native = tensors(space.output / "demo.safetensors")
    endings = {name.split(".", 1)[1] for name in native}
    assert endings == {"lora_down.weight", "lora_up.weight", "alpha"}
    assert all(name.startswith("lora_unet_layers_") for name in native)
    converted = tensors(space.output / "comfyui" / "demo.safetensors")
    assert all(name.startswith("diffusion_model.layers.") for name in converted)
    assert {name.rsplit(".", 2)[1] for name in converted} == {"lora_A", "lora_B"}

    # A second training of that name is refused, then moved aside; the same seed gives the same tensors.
    code, message = space.refused("train")
    assert code == 2 and "is there already. Choose another OUTPUT_NAME" in message
    space.ok("train", "--overwrite")
    again = tensors(space.output / "demo.safetensors")
    assert native.keys() == again.keys() and all(native[name].equal(again[name]) for name in native)
    assert len(list((space.output / "replaced").rglob("demo.safetensors"))) == 2
    # Each was converted anew as it was saved; what was converted before went aside with its LoRA.
    after = tensors(space.output / "comfyui" / "demo.safetensors")
    assert all(converted[name].equal(after[name]) for name in converted)

    # Nothing is left to do of a job that is done.
    assert "did this very job already" in space.ok("train", "--continue")

    # Trained on, the finished LoRA keeps its place under its epoch's number.
    space.ok("train", "--resume", "--epochs", "3")
    assert names(space.output, "*.safetensors") == [
        "demo-000001.safetensors",
        "demo-000002.safetensors",
        "demo.safetensors",
    ]
    assert json.loads(space.ok("status", "--json"))["run"]["progress"]["step"] == 9


def test_a_dry_run_prints_the_plan_and_writes_nothing(space: Space) -> None:
    before = sorted(path for path in space.root.rglob("*") if "cache" not in path.parts)
    text = space.ok("train", "--dry-run")
    assert "3 steps an epoch x 2 epochs" in text and "--network_dim 4" in text
    plan = json.loads(space.ok("train", "--dry-run", "--json"))
    assert [step["name"] for step in plan["steps"]] == ["cache-latents", "cache-text", "train"]
    assert plan["schedule"]["steps"] == 6
    assert sorted(path for path in space.root.rglob("*") if "cache" not in path.parts) == before


def test_what_follows_the_dashes_reaches_the_trainer(space: Space) -> None:
    plan = json.loads(space.ok("plan", "--json", "--", "--max_grad_norm", "0.5"))
    assert plan["steps"][2]["argv"][-2:] == ["--max_grad_norm", "0.5"]


def test_a_flag_for_the_sampler_is_not_taken_for_the_lora(space: Space) -> None:
    code, message = space.refused("sample", "--", "--no_such_flag", "1")
    assert code == 2 and "demo.safetensors" in message and "no_such_flag" not in message
