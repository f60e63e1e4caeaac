import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from musabi.errors import MachineError
from musabi.watch import tensorboard


def test_the_command_names_folder_host_and_port() -> None:
    assert tensorboard.command(Path("/v/bin/python"), Path("/workspace/logs"), "127.0.0.1", 6006) == (
        "/v/bin/python", "-P", "-m", "tensorboard.main", "--logdir", "/workspace/logs",
        "--host", "127.0.0.1", "--port", "6006",
    )  # fmt: skip


def test_a_taken_port_is_named_with_its_mend() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(MachineError, match=rf"127\.0\.0\.1:{port} .*TENSORBOARD_PORT"):
            tensorboard.require_free("127.0.0.1", port)
    tensorboard.require_free("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(MachineError, match="can't listen"):
        tensorboard.require_free("192.0.2.1", 6006)


def test_an_empty_folder_is_said(tmp_path: Path, write_events: Callable[..., Path]) -> None:
    assert "is not there yet" in (tensorboard.remark(tmp_path / "nowhere") or "")
    assert "No event files" in (tensorboard.remark(tmp_path) or "")
    write_events(tmp_path / "run", [("loss/current", 1, 0.5)])
    assert tensorboard.remark(tmp_path) is None


@pytest.mark.slow
def test_it_really_shows_the_curves(tmp_path: Path, write_events: Callable[..., Path]) -> None:
    write_events(tmp_path / "run", [("loss/current", 1, 0.5), ("loss/current", 2, 0.25)])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code = (
        "from pathlib import Path; from musabi.watch.tensorboard import start; "
        f"start(Path({str(tmp_path)!r}), '127.0.0.1', {port})"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        address = f"http://127.0.0.1:{port}/data/plugin/scalars/scalars?run=run&tag=loss/current"
        assert [row[1:] for row in _answer(address, child)] == [[1, 0.5], [2, 0.25]]
    finally:
        child.terminate()
        child.wait(20)


def _answer(address: str, child: subprocess.Popen[bytes]) -> list[list[float]]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        try:
            answer = httpx.get(address, timeout=10, trust_env=False)
            if answer.status_code == 200 and answer.json():
                rows: list[list[float]] = answer.json()
                return rows
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    raise AssertionError("TensorBoard did not answer")
