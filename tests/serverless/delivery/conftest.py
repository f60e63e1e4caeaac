"""Finished jobs, as `phases/upload.py` hands them over."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from musabi.hub import guarded
from musabi.job.record import Leg, ProducedFile, RunFolder, RunRecord, RunState
from musabi.lora.convert import to_comfyui
from musabi.recipes import load
from musabi.recipes.lora_models import lora_model
from musabi.serverless.context import Context
from musabi.serverless.delivery.updates import Updates
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.parts import EngineChoice, Trained
from musabi.serverless.places import Places
from musabi.serverless.request.model import read_request
from musabi.serverless.settings import load as load_settings
from peers.loopback_hub_uploads import UploadHub, running_upload_hub
from peers.recording_network import RecordingNetwork

TOKEN = "hf_averysecrettoken1234567890"
JOB = "abc123-def456"
RUN = "run-1"
NAME = "ohwx"
OUTCOME = {"run": RUN, "epochs": 4, "steps": 40}
PROMPTS = ("ohwx person, portrait", "ohwx person in the rain")
RANK, ALPHA = 4, 2.0


@pytest.fixture
def hub() -> Iterator[UploadHub]:
    with running_upload_hub(TOKEN) as running:
        yield running


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> RecordingNetwork:
    """Give the guard a network of the test's own: the only way to a loopback peer."""
    made = RecordingNetwork()
    monkeypatch.setattr(guarded, "NETWORK", made.as_network())
    return made


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    """A job whose training is done: a run record, a LoRA in both forms, two samples."""
    folder = JobFolder(tmp_path / "root" / "jobs" / JOB)
    folder.make(JOB, {})
    output = folder.output
    native, converted = output / f"{NAME}.safetensors", output / "comfyui" / f"{NAME}.safetensors"
    write_lora(native)
    to_comfyui(native, converted, lora_model(load("z-image")))
    made = [produced("checkpoint", native), produced("converted", converted)]
    for prompt in range(2):
        for epoch in (2, 4):
            picture = output / "sample" / f"{NAME}_e{epoch:06d}_{prompt:02d}_2026013114050{prompt}_42.png"
            picture.parent.mkdir(exist_ok=True)
            Image.new("RGB", (32, 32), (epoch * 40, prompt * 99, 7)).save(picture)
            made.append(produced("sample", picture))
    folder.sample_prompts.parent.mkdir(exist_ok=True)
    folder.sample_prompts.write_text("".join(f"{text} --d 42\n" for text in PROMPTS))
    run = RunFolder(folder.space.runs / RUN)
    run.path.mkdir(parents=True)
    run.save(record(folder, made))
    return folder


def write_lora(path: Path) -> None:
    """Write a small LoRA as the trainer does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Any] = {}
    for number in range(2):
        for part in ("to_q", "to_k"):
            name = f"lora_unet_layers_{number}_attention_{part}"
            tensors[f"{name}.lora_down.weight"] = np.full((RANK, 64), 0.5, np.float32)
            tensors[f"{name}.lora_up.weight"] = np.full((64, RANK), 0.25, np.float32)
            tensors[f"{name}.alpha"] = np.array(ALPHA, np.float32)
    save_file(tensors, path, {"ss_base_model_version": "z_image"})


def produced(kind: str, path: Path) -> ProducedFile:
    return ProducedFile(kind=kind, path=path, size=path.stat().st_size, made=time.time())


def record(folder: JobFolder, files: list[ProducedFile]) -> RunRecord:
    job = {
        "model": "z-image",
        "output_name": NAME,
        "output_dir": str(folder.output),
        "sample_prompts": str(folder.sample_prompts),
        "dataset_config": str(folder.dataset_config),
        "network_dim": RANK,
        "network_alpha": ALPHA,
    }
    return RunRecord(
        id=RUN,
        state=RunState.DONE,
        created=1_760_000_000.0,
        ended=1_760_000_090.0,
        job=job,
        plan={"schedule": {"steps": 40, "epochs": 4, "steps_per_epoch": 10}},
        versions={"musubi-tuner": "v0.3.4"},
        legs=[Leg(started=1_760_000_000.0, epochs=4, steps=40, steps_per_epoch=10)],
        files=files,
    )


@pytest.fixture
def said() -> list[str]:
    """The job's log."""
    return []


@pytest.fixture
def job(
    folder: JobFolder, hub: UploadHub, tmp_path: Path, said: list[str]
) -> Iterator[Callable[..., Context]]:
    """Make the context of the finished job: `job({"method": ...}, {secrets}, volume=..., VARIABLE=...)`."""
    made: list[Updates] = []
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)

    def make(
        output: dict[str, Any],
        secrets: dict[str, str] | None = None,
        volume: bool = True,
        engine: Any = "musubi",
        **environ: str,
    ) -> Context:
        given = {
            "model_type": "z_image",
            "dataset": {
                "type": "precaptioned",
                "images_url": "https://example.com/a.zip?X-Sig=1",
                "trigger_word": "ohwx person",
            },
            "training": {"epochs": 4, "lora_rank": RANK, "learning_rate": 1e-4},
            "output": output,
        }
        known = {"output.huggingface.token": TOKEN} if secrets is None else secrets
        request = read_request(given, secrets=known)
        variables = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HF_ENDPOINT": hub.url} | environ
        updates = Updates.of(request, known, folder, variables, said.append)
        made.append(updates)
        return Context(
            folder=folder,
            job_id=JOB,
            request=request,
            choice=EngineChoice(engine, "z-image", "Z-Image", "test"),
            secrets=known,
            environ=variables,
            settings=load_settings(variables),
            places=Places(root, root if volume else None),
            updates=updates,
            stop=threading.Event(),
            say=said.append,
        )

    yield make
    for one in made:
        one.close(0)


@pytest.fixture
def trained(job: Callable[..., Context]) -> Trained:
    from musabi.serverless.delivery.trained import read_trained

    return read_trained(job({"method": "volume"}, {}), OUTCOME)
