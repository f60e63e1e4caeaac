"""A job whose dataset comes from a loopback server, over a network of the test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from musabi.serverless.job_folder import JobFolder
from peers.intake_job import PUBLIC, Job
from peers.loopback_files import LoopbackFiles, running_files
from peers.recording_network import RecordingNetwork


@pytest.fixture(scope="session")
def server() -> Iterator[LoopbackFiles]:
    with running_files() as running:
        yield running


@pytest.fixture
def make_job(server: LoopbackFiles, tmp_path: Path) -> Callable[[str], Job]:
    server.files, server.redirects, server.seen, server.bytes_per_second = {}, {}, [], 0
    network = RecordingNetwork()
    network.host("files.example", PUBLIC, server.url)

    def make(name: str) -> Job:
        return Job(JobFolder(tmp_path / name), server, network)

    return make


@pytest.fixture
def job(make_job: Callable[[str], Job]) -> Job:
    return make_job("job-1")
