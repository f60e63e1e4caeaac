"""The server itself, as a process: on a port of this machine, on a socket behind JupyterLab's proxy."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from musabi.errors import MachineError
from musabi.watch.page.server import serve_on_port, serve_on_socket

ON_A_PORT = """
import os, sys
from musabi.watch.page.server import serve_on_port
sys.exit(serve_on_port(os.environ, 0, lambda address: print(address, flush=True)))
"""


@contextmanager
def serving(tmp_path: Path, *words: str, **environ: str) -> Iterator["subprocess.Popen[str]"]:
    """A server as a process; killed at the end where it still is."""
    env = dict(os.environ) | {"WORKSPACE": str(tmp_path / "ws"), "MUSABI_STATE_DIR": str(tmp_path / "state")}
    process = subprocess.Popen(
        [sys.executable, *words], env=env | environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def test_it_listens_on_loopback_only_and_ends_when_told_though_somebody_looks(tmp_path: Path) -> None:
    with serving(tmp_path, "-c", ON_A_PORT) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        host, port = address.split("/")[2].split(":")
        assert host == "127.0.0.1" and "?token=" in address
        listening = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True)
        if listening.returncode == 0:
            assert f"127.0.0.1:{port}" in listening.stdout and f"0.0.0.0:{port}" not in listening.stdout
        with httpx.Client(follow_redirects=True, timeout=10) as client:
            assert "<h1>" in client.get(address).text
            with client.stream("GET", f"http://127.0.0.1:{port}/live?page=pod") as events:
                assert next(events.iter_lines()).startswith("retry")
                begun = time.monotonic()
                server.send_signal(signal.SIGTERM)
                _, said = server.communicate(timeout=20)
        assert time.monotonic() - begun < 8
        assert "Traceback" not in said


def test_behind_a_proxy_it_answers_on_a_socket_of_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "page.sock"
    path.write_text("what a killed server left")
    with serving(tmp_path, "-m", "musabi.watch.page.server", str(path)) as server:
        until = time.monotonic() + 20
        while not path.is_socket() and time.monotonic() < until and server.poll() is None:
            time.sleep(0.05)
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(
            transport=transport, base_url="http://abc-8888.proxy.example", timeout=10
        ) as client:
            while time.monotonic() < until:  # it is there a moment before it is listened on
                with contextlib.suppress(httpx.ConnectError):
                    assert client.get("/health").json() == {"status": "ok"}
                    break
                time.sleep(0.05)
            assert "<h1>" in client.get("/").text
            assert client.post("/do", json={}).status_code == 403
        assert path.stat().st_mode & 0o022 == 0
        server.send_signal(signal.SIGTERM)
        server.wait(10)


def test_a_wrong_variable_is_told_by_the_page_and_not_by_its_absence(tmp_path: Path) -> None:
    with serving(tmp_path, "-c", ON_A_PORT, NETWORK_DIM="many") as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        with httpx.Client(follow_redirects=True, timeout=10) as client:
            assert "NETWORK_DIM" in client.get(address).text


def test_a_port_that_is_taken_is_named_with_its_mend() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(MachineError, match=rf"Port {port} .*--port"):
            serve_on_port({}, port, lambda _address: None)


def test_a_socket_that_cant_be_made_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "page.sock", tmp_path / ("x" * 150)):
        with pytest.raises(MachineError, match=r"can't listen on .*\((?!None)"):
            serve_on_socket({}, path)
