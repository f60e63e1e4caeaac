"""What a worker is looked at for before it takes a job."""

import os
import time
from pathlib import Path

import pytest

from musabi.engines.musubi.environment import FACTS_NAME
from musabi.errors import MachineError
from musabi.serverless.places import Places
from musabi.serverless.worker import fitness


def nvidia_smi(folder: Path, script: str) -> dict[str, str]:
    """Write a stand-in for nvidia-smi; return an environment in which it is found."""
    folder.mkdir(exist_ok=True)
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_every_check_passes_on_a_good_machine_and_is_named(tmp_path: Path) -> None:
    checks = fitness.checks(Places(tmp_path / "root"), dict(os.environ))
    assert [check.__name__ for check in checks] == [
        "volume_can_be_written",
        "disk_has_room",
        "models_folder_is_there",
        "gpu_answers",
        "trainer_is_there",
    ]
    for check in checks[:3]:
        check()
    assert sorted(path.name for path in (tmp_path / "root").iterdir()) == ["jobs", "models"]


def test_a_volume_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file")
    with pytest.raises(MachineError, match=r"root/jobs can't be written"):
        fitness.volume_can_be_written(Places(tmp_path / "root"), {})


def test_a_full_volume_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitness, "LEAST_BYTES", 1 << 62)
    with pytest.raises(MachineError, match="are free on the disk"):
        fitness.disk_has_room(Places(tmp_path), {})


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'NVIDIA A40, 46068'", None),
        ("echo 'NVIDIA-SMI has failed'; exit 9", "NVIDIA-SMI has failed"),
        ("exit 0", "names none"),
        ("exec sleep 30", "did not answer within"),
    ],
)
def test_a_gpu_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str | None
) -> None:
    monkeypatch.setattr(fitness, "GPU_SECONDS", 0.5 if words and "did not" in words else 20.0)
    environ = nvidia_smi(tmp_path / "bin", script)
    began = time.monotonic()
    if words is None:
        fitness.gpu_answers(Places(tmp_path), environ, driver=tmp_path)
    else:
        with pytest.raises(MachineError, match=words):
            fitness.gpu_answers(Places(tmp_path), environ, driver=tmp_path)
    assert time.monotonic() - began < 20
    fitness.gpu_answers(
        Places(tmp_path), environ, driver=tmp_path / "missing"
    )  # no driver: a worker without GPU


def test_a_driver_without_nvidia_smi_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="can't be started"):
        fitness.gpu_answers(Places(tmp_path), {"PATH": str(tmp_path)}, driver=tmp_path)


def test_a_worker_without_any_trainer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    places = Places(tmp_path)
    with pytest.raises(MachineError, match="no trainer here"):
        fitness.trainer_is_there(places, {})
    python = places.checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (places.checkout / ".venv" / FACTS_NAME).write_text("{}")
    fitness.trainer_is_there(places, {})
