"""A port is free, held by the very service it is for, or held by somebody who is named."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from musabi.pod.doctor import ports
from musabi.pod.doctor.finding import Finding
from musabi.pod.doctor.scene import Scene
from musabi.settings import load
from small.machine import Machine


@pytest.fixture
def port() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def here(machine: Machine, port: int, **environ: str) -> Scene:
    """The machine with this one's real /proc."""
    environ = machine.environ | {"JUPYTER_PORT": str(port)} | environ
    return Scene(load(environ), environ)


def jupyter(scene: Scene) -> Finding:
    return next(each for each in ports.look(scene) if "JupyterLab" in each.sentence)


def boot_says(machine: Machine, state: str, pid: int) -> None:
    services = {"jupyter": {"state": state, "pid": pid}}
    machine.write({"state/pod/boot.json": json.dumps({"services": services})})


def test_a_port_that_nobody_holds_is_free(machine: Machine, port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        unused = other.getsockname()[1]
    assert jupyter(here(machine, unused)).what == f"port {unused} is free for JupyterLab"


def test_a_port_held_by_another_program_names_it_without_its_arguments(machine: Machine) -> None:
    code = "import socket, sys; s = socket.create_server(('::', 0), family=socket.AF_INET6)\n"
    code += "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", code, "--password=MARKEDargument"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            taken = int(child.stdout.readline())
            found = jupyter(here(machine, taken))
        finally:
            child.kill()
    assert (found.name, found.state) == ("ports.taken", "note")
    program = Path(sys.executable).name
    assert found.what == f"port {taken} is held by another program ({program}, process {child.pid})"
    assert "JUPYTER_PORT" in found.mend and "MARKED" not in str(found)


def test_a_port_held_by_the_service_itself_is_right(machine: Machine, port: int) -> None:
    boot_says(machine, "running", os.getpid())
    assert jupyter(here(machine, port)).name == "ports.held"


def test_a_service_that_was_started_and_does_not_listen_is_named_with_its_log(machine: Machine) -> None:
    boot_says(machine, "running", os.getpid())
    with socket.create_server(("127.0.0.1", 0)) as other:
        unused = other.getsockname()[1]
    found = jupyter(here(machine, unused))
    assert found.name == "ports.silent" and found.mend.endswith("logs/jupyter.log.")


def test_the_kernels_tables_are_read_for_both_families(machine: Machine) -> None:
    head = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    )
    row = "   0: {address}:22B8 0:0 {state} 0:0 00:0 0 0 0 {inode} 1 0\n"
    tables = {
        "proc/net/tcp": head + row.format(address="0100007F", state="01", inode=1),
        "proc/net/tcp6": head + row.format(address="0" * 32, state="0A", inode=7),
    }
    machine.write(tables)
    assert ports.holder_of(8888, machine.root / "proc") == ports.Holder(None)
    assert ports.holder_of(8889, machine.root / "proc") is None
    assert jupyter(machine.scene()).what == "port 8888 is held by another program"
