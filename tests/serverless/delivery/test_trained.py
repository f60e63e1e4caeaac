"""What a run left is read from its record and its files, whoever trained it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from musabi.errors import MachineError
from musabi.job.record import RunFolder
from musabi.recipes import load
from musabi.serverless.context import Context
from musabi.serverless.delivery.trained import read_trained
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.parts import EngineChoice, Trained

OUTCOME = {"run": "run-1", "epochs": 4, "steps": 40}


def test_a_finished_training_is_read_whole(folder: JobFolder, trained: Trained) -> None:
    sample = folder.output / "sample"
    assert trained == Trained(
        name="ohwx",
        comfy=folder.output / "comfyui" / "ohwx.safetensors",
        native=folder.output / "ohwx.safetensors",
        epochs=4,
        latest_epoch="epoch4",
        steps=40,
        rank=4,
        alpha=2.0,
        base_model=load("z-image").weights["dit"].repo,
        run=folder.space.runs / "run-1",
        samples=tuple(sample / f"ohwx_e000004_{n:02d}_2026013114050{n}_42.png" for n in range(2)),
        trigger="ohwx person",
        seconds=90.0,
    )


def test_a_conversion_that_failed_in_the_run_is_made_up_for(
    folder: JobFolder, job: Callable[..., Context]
) -> None:
    converted = folder.output / "comfyui" / "ohwx.safetensors"
    converted.unlink()
    trained = read_trained(job({"method": "volume"}, {}), OUTCOME)
    assert trained.comfy == converted
    with safe_open(converted, "np") as file:
        assert all(key.startswith("diffusion_model.layers.") for key in file.keys())  # noqa: SIM118 - no mapping


def test_where_comfyui_reads_the_trainers_own_file_there_is_only_that(
    folder: JobFolder, job: Callable[..., Context]
) -> None:
    context = replace(job({"method": "volume"}, {}), choice=EngineChoice("musubi", "flux2-dev", "FLUX.2", ""))
    trained = read_trained(context, OUTCOME)
    assert (trained.comfy, trained.native) == (folder.output / "ohwx.safetensors", None)


@pytest.mark.parametrize(
    ("model", "base"), [("sdxl", "stabilityai/"), ("flux", "black-forest-labs/FLUX.1-dev")]
)
def test_a_run_of_diffusion_pipe_needs_no_more_than_its_file(
    model: str, base: str, folder: JobFolder, job: Callable[..., Context]
) -> None:
    run = RunFolder(folder.space.runs / "run-1")
    record = run.load()
    (file,) = [one for one in record.files if one.kind == "checkpoint"]
    run.save(record.model_copy(update={"job": {"output_name": "ohwx"}, "plan": {}, "files": [file]}))
    (folder.output / "comfyui" / "ohwx.safetensors").unlink()
    choice = EngineChoice("diffusion_pipe", model, model, "")
    trained = read_trained(replace(job({"method": "volume"}, {}), choice=choice), OUTCOME)
    assert (trained.comfy, trained.native, trained.samples) == (file.path, None, ())
    assert str(trained.base_model).startswith(base)


def test_a_lora_that_is_gone_is_said(folder: JobFolder, job: Callable[..., Context]) -> None:
    for path in (folder.output / "ohwx.safetensors", folder.output / "comfyui" / "ohwx.safetensors"):
        path.unlink()
    with pytest.raises(MachineError, match="no longer there"):
        read_trained(job({"method": "volume"}, {}), OUTCOME)


def test_the_newest_checkpoint_counts_where_the_last_is_gone(
    folder: JobFolder, job: Callable[..., Context]
) -> None:
    run = RunFolder(folder.space.runs / "run-1")
    record = run.load()
    (file,) = [one for one in record.files if one.kind == "checkpoint"]
    older = Path(str(file.path).replace("ohwx.saf", "ohwx-000002.saf"))
    file.path.rename(older)
    (folder.output / "comfyui" / "ohwx.safetensors").unlink()
    changed: Any = [file, file.model_copy(update={"path": older})]
    run.save(record.model_copy(update={"files": changed}))
    assert read_trained(job({"method": "volume"}, {}), OUTCOME).native == older
