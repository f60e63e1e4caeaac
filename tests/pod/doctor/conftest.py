"""A machine without a GPU, one with a stand-in driver, and one that has a loopback hub."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from peers.loopback_hub import LoopbackHub, running_hub
from peers.model_files import add_weights
from small.machine import Machine

SOURCE = Path(__file__).parents[2] / "peers" / "standin_libcuda.c"
BIG = "MemTotal:       263852180 kB\nMemFree:        1000 kB\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without a GPU, with much memory and an empty workspace; nothing of this one's environment."""
    made = Machine(tmp_path)
    made.workspace.mkdir()
    made.write({"proc/meminfo": BIG, "proc/self/cgroup": "0::/\n"})
    made.environ = {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "WORKSPACE": str(made.workspace),
        "MUSABI_STATE_DIR": str(made.state),
        "HF_TOKEN_PATH": str(tmp_path / "no-token"),
        "OMP_NUM_THREADS": "1",
    }
    return made


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with running_hub() as running:
        add_weights(running, size=10_000)
        yield running


@pytest.fixture
def online(machine: Machine, hub: LoopbackHub) -> Machine:
    """The machine, with every host that it needs on loopback."""
    machine.environ |= {
        "HF_ENDPOINT": hub.url,
        "MUSUBI_REPO_URL": f"{hub.url}/musubi-tuner.git",
        "UV_DEFAULT_INDEX": f"{hub.url}/simple",
        "MUSUBI_CUDA_EXTRA": "cpu",
    }
    return machine


@pytest.fixture(scope="session")
def standin_libcuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds a stand-in libcuda.so.1."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed, so no stand-in driver can be built")
    folder = tmp_path_factory.mktemp("libcuda")
    library = folder / "libcuda.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, SOURCE], check=True, timeout=60)
    return folder


@pytest.fixture
def driven(machine: Machine, standin_libcuda: Path) -> Machine:
    """The machine with the stand-in driver library."""
    machine.environ |= {"LD_LIBRARY_PATH": str(standin_libcuda), "STANDIN_FREE": "84000000000"}
    return machine
