"""A job's folder for diffusion-pipe's stand-in: weights and pictures of a few bytes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from musabi.engines.diffusion_pipe.job import PipeJob
from musabi.job.record import RunFolder, newest_run
from peers.standin_diffusion_pipe import write_checkout

LIMIT_SECONDS = 20.0


class JobFolder:
    """One job: its folder, and the process that carries it out."""

    def __init__(self, path: Path, checkout: Path) -> None:
        self.path = path
        self.output = path / "workspace" / "output"
        self.trainings = path / "workspace" / "diffusion_pipe" / "trainings"
        (path / "workspace").mkdir(parents=True)
        (path / "workspace" / "diffusion-pipe").symlink_to(checkout)
        self.weights = path / "weights"
        self.weights.mkdir()
        self.pictures = path / "pictures"
        self.pictures.mkdir()
        for number in range(4):
            (self.pictures / f"{number}.png").write_bytes(b"not looked at")
            (self.pictures / f"{number}.txt").write_text("sks a picture")
        self.started: list[subprocess.Popen[str]] = []

    def weight(self, name: str) -> str:
        """Return the path of a made-up file of weights."""
        file = self.weights / name
        file.write_bytes(b"weights")
        return str(file)

    def job(self, **more: Any) -> PipeJob:
        values: dict[str, Any] = {
            "model_type": "sdxl",
            "type": "sdxl",
            "model": {"checkpoint_path": self.weight("sdxl.safetensors")},
            "adapter": {"rank": 4},
            "optimizer": {"type": "adamw_optimi", "lr": 1e-4},
            "root": {"gradient_accumulation_steps": 1},
            "dataset": {"resolutions": [64]},
            "directories": [(self.pictures, 1)],
            "output_name": "lora",
            "epochs": 3,
            "save_every_n_epochs": 1,
        }
        return PipeJob.model_validate(values | more)

    def start(self, job: PipeJob | None = None, **environ: str) -> subprocess.Popen[str]:
        """Start the process that carries the job out."""
        if job is not None:
            job.write(self.path)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "musabi.engines.diffusion_pipe.run", str(self.path)],
            env={**os.environ, "STANDIN_STEP_SECONDS": "0.005", **environ},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, job: PipeJob | None = None, **environ: str) -> tuple[int, dict[str, Any]]:
        """Carry the job out; return the exit code and what was said on stdout."""
        process = self.start(job, **environ)
        said, _ = process.communicate(timeout=LIMIT_SECONDS)
        return process.returncode, json.loads(said)

    @property
    def newest(self) -> RunFolder:
        run = newest_run(self.path / "workspace" / "runs")
        assert run is not None
        return run

    def wait(self, what: Callable[[], Any]) -> Any:
        """Wait until something is so, and return it."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not (found := what()):
            assert time.monotonic() < deadline, "it did not come to that in time"
            time.sleep(0.02)
        return found

    def log(self) -> str:
        """Return what the trainer of the newest run said so far; empty before it has one."""
        run = newest_run(self.path / "workspace" / "runs")
        return run.log_file.read_text() if run is not None and run.log_file.exists() else ""

    @property
    def loras(self) -> list[str]:
        return sorted(path.name for path in self.output.glob("*.safetensors"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return write_checkout(tmp_path / "shared" / "diffusion-pipe")


@pytest.fixture
def make_folder(tmp_path: Path, checkout: Path) -> Iterator[Callable[[str], JobFolder]]:
    made: list[JobFolder] = []

    def make(name: str) -> JobFolder:
        made.append(JobFolder(tmp_path / name, checkout))
        return made[-1]

    yield make
    for folder in made:
        for process in folder.started:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def folder(make_folder: Callable[[str], JobFolder]) -> JobFolder:
    return make_folder("job")
