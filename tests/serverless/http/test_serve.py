"""`musabi serve` as a process: how it starts, what a signal and a kill do to it and to its jobs."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from musabi.commands.serve import serve_verb
from musabi.errors import MachineError
from musabi.job.record import process_start
from musabi.serverless.attempt import end_processes, last_attempt
from musabi.serverless.job_folder import JobFolder
from musabi.watch.serving import NAME
from musabi.watch.serving import serving as running_server
from peers import serve_with_standin
from peers.endpoint_house import request

KEY = "k" * 32
WAIT_SECONDS = 30.0


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.03)


@contextmanager
def serving(root: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Yield the process of a server over a folder, and a client with its key."""
    with (root / "serve.err").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, serve_with_standin.__file__, str(root)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | {"MUSABI_API_KEY": KEY},
        )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        url = re.search(r"http://[\d.:]+", said)
        assert url, said + (root / "serve.err").read_text()
        with httpx.Client(base_url=url[0], headers={"Authorization": f"Bearer {KEY}"}, timeout=20) as client:
            yield process, client
    finally:
        process.kill()
        process.wait(timeout=20)
        if process.stdout is not None:
            process.stdout.close()


def send(client: httpx.Client, orders: str) -> str:
    return str(client.post("/run", json={"input": request(orders)}).json()["id"])


@pytest.mark.slow
def test_a_job_outlives_a_kill_and_a_signal_of_its_server(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, client):
        job_id = send(client, "steps=600 each=0.01")
        folder = JobFolder(tmp_path / "volume" / "jobs" / job_id)
        until(lambda: folder.phases().get("step", 0) > 3)
        server.kill()
    attempt = last_attempt(folder)
    assert attempt is not None and attempt.is_alive, "a kill of the server does not end its jobs"
    with serving(tmp_path) as (server, client):
        assert client.get(f"/status/{job_id}").json()["status"] == "IN_PROGRESS"
        taken_up = last_attempt(folder)
        assert taken_up == attempt, "it is the same process"
        until(lambda: "output" in client.get(f"/status/{job_id}").json())
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=WAIT_SECONDS) == 143
        assert server.stdout is not None and "save their state" in server.stdout.read()
    assert process_start(attempt.pid) is None
    step = folder.phases()["step"]
    (folder.path / "request.json").write_text("{}")  # made anew from the queue at the next start
    with serving(tmp_path) as (server, client):
        until(lambda: folder.phases().get("step", 0) > step)
        assert client.get(f"/status/{job_id}").json()["status"] == "IN_PROGRESS"
        assert client.post(f"/cancel/{job_id}").json()["status"] == "CANCELLED"
        until(lambda: client.get("/health").json()["workers"]["running"] == 0)
    assert "Traceback" not in (tmp_path / "serve.err").read_text()
    end_processes(folder)


def musabi(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "MUSABI_API_KEY"}
    return subprocess.run(
        [sys.executable, "-m", "musabi", "serve", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=kept | environ,
    )


def test_listening_for_others_without_a_key_is_refused(tmp_path: Path) -> None:
    done = musabi("--host", "0.0.0.0", "--root", str(tmp_path / "root"), WORKSPACE=str(tmp_path))
    assert done.returncode == 2 and "MUSABI_API_KEY" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "root").exists()


def test_a_key_that_can_not_be_sent_is_refused(tmp_path: Path) -> None:
    done = musabi("--port", "0", WORKSPACE=str(tmp_path), MUSABI_API_KEY="schl\u00fcssel")
    assert done.returncode == 2 and "plain letters" in done.stderr and "schl" not in done.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = musabi("--port", port, WORKSPACE=str(tmp_path))
    assert done.returncode == 3 and port in done.stderr and "Address already in use" in done.stderr


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_what_is_not_installed_is_named_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MachineError, match=rf"needs the package {package}\. .*musabi\[serverless\]"):
        serve_verb(port=0, root=tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_without_jobs_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, client):
        assert client.get("/health").status_code == 200
        noted = running_server(tmp_path / "state")
        assert noted is not None and noted.pid == server.pid, "the run page finds it at any port"
        assert noted.url == str(client.base_url).rstrip("/")
        begun = time.monotonic()
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=WAIT_SECONDS) == 130
        assert server.stdout is not None and "No job was running" in server.stdout.read()
        assert time.monotonic() - begun < 5
        assert not (tmp_path / "state" / NAME).exists()
