"""A whole endpoint on this machine: `musabi serve`, a small model, a dataset server, a hub."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from peers.installers import Installers
from peers.loopback_files import LoopbackFiles, running_files
from peers.loopback_hub_uploads import UploadHub, running_upload_hub
from peers.monitoring_client import MonitoringClient
from small.model import draw_images, make_small_model

SERVE = Path(__file__).parents[1] / "peers" / "serve_on_loopback.py"
TOKEN = "hf_averysecrettoken1234567890"
KEY = "a key for the endpoint"
REPO = "tester/robot"
WAIT_SECONDS = 120.0
EPOCHS = 60
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


@pytest.fixture(scope="session")
def small_endpoint_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Z-Image in the places where an endpoint looks for it."""
    folder = tmp_path_factory.mktemp("endpoint-model")
    make_small_model(folder / "models", folder / "hf")
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A zip with five captioned pictures, in a folder of its own."""
    folder = tmp_path_factory.mktemp("photos")
    draw_images(folder / "images")
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for file in sorted((folder / "images").iterdir()):
            archive.write(file, f"my photos/{file.name}")
    return made.getvalue()


@pytest.fixture(scope="session")
def hub() -> Iterator[UploadHub]:
    with running_upload_hub() as running:
        running.tokens = {TOKEN: "write"}
        yield running


@pytest.fixture(scope="session")
def files(photos: bytes) -> Iterator[LoopbackFiles]:
    with running_files() as running:
        running.add("/photos.zip", photos)
        yield running


@pytest.fixture(scope="session")
def installers(tmp_path_factory: pytest.TempPathFactory) -> Installers:
    """Stand-ins for pip, apt, git and their like, which the endpoints of the tests find in place of the real ones."""
    return Installers(tmp_path_factory.mktemp("installers"))


class Endpoint:
    """The server as a client sees it; `kill` and `start` are what happens to a machine."""

    def __init__(self, root: Path, environ: dict[str, str], program: Path = SERVE) -> None:
        self.root = root
        self._environ = environ
        self._program = program
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(self._program), str(self.root)],
            env=self._environ,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "http://" in line:
                self.url = "http://" + line.partition("http://")[2].split()[0].rstrip("./,")
                return
        raise AssertionError("the server ended before it listened")

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=60)

    def ask(self, method: str, path: str, **body: Any) -> Any:
        answer = httpx.request(
            method, self.url + path, headers={"Authorization": f"Bearer {KEY}"}, timeout=60, **body
        )
        assert answer.status_code < 500, answer.text
        return answer.json()

    def run(self, request: dict[str, Any]) -> str:
        return str(self.ask("POST", "/run", json=request)["id"])

    def status(self, job: str) -> dict[str, Any]:
        return dict(self.ask("GET", f"/status/{job}"))

    def until(self, job: str, true: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_SECONDS
        while not true(status := self.status(job)):
            assert time.monotonic() < deadline, f"{status}\n{self.log(job)}"
            time.sleep(0.2)
        return status

    def result(self, job: str) -> dict[str, Any]:
        return self.until(job, lambda status: status["status"] in ENDED)

    def folder(self, job: str) -> Path:
        return self.root / "endpoint" / "jobs" / job

    def log(self, job: str) -> str:
        return (self.folder(job) / "log.txt").read_text()


@pytest.fixture(scope="session")
def endpoint(
    tmp_path_factory: pytest.TempPathFactory,
    small_endpoint_model: Path,
    hub: UploadHub,
    files: LoopbackFiles,
    installers: Installers,
) -> Iterator[Endpoint]:
    """A server at work. Its jobs reach files.example and the hub, and nothing else."""
    root = tmp_path_factory.mktemp("endpoint") / "root"
    home = root / "endpoint"
    (home / "cache").mkdir(parents=True)
    (home / "models").symlink_to(small_endpoint_model / "models")
    (home / "cache" / "huggingface").symlink_to(small_endpoint_model / "hf")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environ = kept | installers.before(kept["PATH"])
    environ |= {
        "WORKSPACE": str(root),
        "ENDPOINT_ROOT": str(home),
        "MUSABI_STATE_DIR": str(root / "state"),
        "MUSABI_API_KEY": KEY,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
        "ENDPOINT_INSTALL_TRAINERS": "0",
        "MUSABI_TEST_HOSTS": json.dumps({"files.example": files.url}),
    }
    made = Endpoint(root, environ)
    made.start()
    yield made
    made.signal(signal.SIGTERM)


@pytest.fixture(scope="session")
def ask_for() -> Callable[..., dict[str, Any]]:
    """Make a request for the small model, its result to go to a repo; `training` is laid over what it holds."""

    def make(repo: str, training: dict[str, Any] | None = None) -> dict[str, Any]:
        asked = {
            "epochs": EPOCHS,
            "lora_rank": 4,
            "resolution": 64,
            "batch_size": 2,
            "gradient_accumulation_steps": 1,
            "save_every_n_epochs": 10,
            "learning_rate": 1e-3,
        } | (training or {})
        return {
            "input": {
                "model_type": "z_image",
                "engine": "diffusers",
                "dataset": {
                    "type": "precaptioned",
                    "images_url": "https://files.example/photos.zip?signature=SECRETQUERY",
                    "trigger_word": "ohwx",
                },
                "training": asked,
                "output": {
                    "method": "huggingface",
                    "huggingface": {"token": TOKEN, "repo_id": repo, "private": True},
                },
            }
        }

    return make


@pytest.fixture(scope="session")
def watched(hub: UploadHub, tmp_path_factory: pytest.TempPathFactory) -> MonitoringClient:
    """The documented monitoring client of the job `done`."""
    return MonitoringClient(hub.url, TOKEN, REPO, tmp_path_factory.mktemp("monitoring"))


@pytest.fixture(scope="session")
def done(
    endpoint: Endpoint, ask_for: Callable[..., dict[str, Any]], watched: MonitoringClient
) -> dict[str, Any]:
    """A job that went well, with the monitoring client beside it: its status."""
    watched.start()
    job = endpoint.run(ask_for(REPO))
    status = endpoint.result(job)
    assert status["status"] == "COMPLETED", (status, endpoint.log(job))
    return status
