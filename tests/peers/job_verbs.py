"""The verbs submit and jobs, run in this process against a stand-in for Runpod's queue."""

import json
from typing import Any

import typer
from typer.testing import CliRunner, Result

from musabi.commands import jobs, submit
from musabi.errors import RequestError
from peers.loopback_runpod_queue import LoopbackQueue

EXAMPLE = {
    "model_type": "qwen",
    "dataset": {"type": "precaptioned", "images_url": "https://example.com/images.zip"},
    "output": {"method": "huggingface", "huggingface": {"token": "env:MUSABI_SECRET_HF", "repo_id": "a/b"}},
}
"""An input that is right."""


class JobVerbs:
    """The verbs, run in this process against a queue."""

    def __init__(self, queue: LoopbackQueue) -> None:
        self.queue = queue
        self.app = typer.Typer()
        submit.register(self.app)
        jobs.register(self.app)

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(self.app, list(words))

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    def json(self, *words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.ok(*words, "--json"))["jobs"]
        return found

    def refused(self, *words: str) -> str:
        done = self.run(*words)
        assert isinstance(done.exception, RequestError), (done.output, done.exception)
        return str(done.exception)
