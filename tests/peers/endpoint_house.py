"""The parts of `musabi serve` in this process, with the stand-in program for the work; nothing listens."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from musabi.job.facts import MachineFacts
from musabi.serverless.http.app import make_app
from musabi.serverless.http.gate import Gate
from musabi.serverless.http.server import Options, Parts, make_parts
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.places import Places
from musabi.serverless.queue.states import ENDED
from musabi.serverless.settings import load
from musabi.whole import read_json
from peers.standin_work import COMMAND

TOKEN = "hf_MARKEDTOKEN0123456789"
GPU = 24 * 1024**3
WAIT_SECONDS = 20.0


class House:
    """A server's parts over the folder `root`. Nobody ticks for it: `until` does."""

    def __init__(self, root: Path, *, gpus: int = 0, key: str | None = None, **environ: str) -> None:
        self.root = root
        self.said: list[str] = []
        self.options = Options(
            settings=load(environ),
            places=Places(root / "volume"),
            state_dir=root / "state",
            machine=MachineFacts(gpus=(GPU,) * gpus),
            environ={"PATH": os.environ["PATH"], "MUSABI_API_KEY": "of the server", **environ},
            host="127.0.0.1",
            port=0,
            command=COMMAND,
            patience_s=5.0,
            restart_s=0.05,
        )
        self.parts: Parts = make_parts(self.options, self.said.append)
        self.store, self.service = self.parts.store, self.parts.service
        self.dispatcher = self.parts.dispatcher
        self.app: Gate = make_app(self.service, key)

    def client(self, host: str = "127.0.0.1:8000", **headers: str) -> httpx.AsyncClient:
        """Return a client of the application, in this process."""
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=f"http://{host}", headers=headers)

    def submit(self, orders: str = "", **envelope: Any) -> str:
        """Send a job that does what `orders` say (see standin_work); return its id."""
        return str(self.service.submit({"input": request(orders), **envelope})["id"])

    def until(self, true: Callable[[], object], what: str = "") -> None:
        """Let the dispatcher work until something is true."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not true():
            assert time.monotonic() < deadline, what or self.said
            self.dispatcher.tick()
            time.sleep(0.01)

    def until_ended(self, *ids: str) -> list[dict[str, Any]]:
        """Let the dispatcher work until these jobs have ended and no slot is busy; return their statuses."""
        self.until(
            lambda: all(self.service.job(one).state in ENDED for one in ids) and not self.dispatcher.running
        )
        return [self.service.status(one) for one in ids]

    def folder(self, job_id: str) -> JobFolder:
        """Return a job's folder."""
        return JobFolder(self.options.places.job(job_id))

    def attempts(self, job_id: str) -> list[dict[str, Any]]:
        """Return what the stand-in noted of each attempt at a job."""
        value = read_json(self.folder(job_id).path / "standin.json") or {}
        return list(value.get("attempts", []))

    def vault(self, job_id: str) -> dict[str, str]:
        """Return the secrets that are kept of a job."""
        return self.service.vault.read(job_id)

    def secret_files(self) -> list[Path]:
        """Return the files that hold secrets."""
        return sorted((self.root / "state" / "endpoint-secrets").glob("*"))


def request(orders: str = "", **training: Any) -> dict[str, Any]:
    """Return an input that is right, with orders for the stand-in."""
    return {
        "model_type": "qwen",
        "dataset": {
            "type": "precaptioned",
            "images_url": "https://example.com/images.zip",
            "trigger_word": orders or "word",
        },
        "training": training,
        "output": {"method": "huggingface", "huggingface": {"token": TOKEN, "repo_id": "user/qwen-lora"}},
    }


@contextmanager
def house(root: Path, **settings: Any) -> Iterator[House]:
    """Yield a house; what it started is ended after it."""
    made = House(root, **settings)
    try:
        yield made
    finally:
        for going in list(made.dispatcher._going.values()):
            going.ask_to_end("cancelled", 0.0)
        made.dispatcher.shut_down()
        made.store.close()
