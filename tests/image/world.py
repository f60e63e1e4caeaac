"""What lies outside a container, as stand-ins on loopback: musubi-tuner's repository, package indexes, the hub."""

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from image.network import Network
from peers.loopback_hub import LoopbackHub, running_hub
from peers.model_files import add_weights
from peers.standin_trainer import StandInTrainer, make_packages, serving

# What Debian bookworm has.
PYTHON = "3.11"
Made = TypeVar("Made")


@dataclass(frozen=True)
class World:
    """Stand-ins that answer, and the network they stand in (None: this machine's)."""

    net: Network | None
    trainer: StandInTrainer
    repository: str
    indexes: str
    index_folder: Path
    hub: LoopbackHub

    @property
    def environment(self) -> dict[str, str]:
        """What makes a pod's bootstrap use the stand-ins."""
        return {
            "MUSUBI_REPO_URL": self.repository,
            "MUSUBI_PYTHON": PYTHON,
            "MUSUBI_CUDA_EXTRA": "cpu",
            "HF_ENDPOINT": self.hub.url,
            "UV_DEFAULT_INDEX": f"{self.indexes}/packages",
            "UV_INDEX": f"torch={self.indexes}/torch",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_HTTP_RETRIES": "0",
        }

    def write_uv_configuration(self, path: Path) -> Path:
        """Write a file that, as /etc/uv/uv.toml, makes uv use the stand-ins."""
        index = '[[index]]\nurl = "{}/{}"\n{}'
        texts = (
            index.format(self.indexes, "torch", ""),
            index.format(self.indexes, "packages", "default = true\n"),
        )
        path.write_text('python-downloads = "never"\n' + "".join(texts))
        return path


@contextlib.contextmanager
def standing_in(net: Network | None) -> Iterator[World]:
    """Yield the stand-ins, in a container's network or in this machine's."""

    def there(make: Callable[[], Made]) -> Made:
        return net.run(make) if net is not None else make()

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="musabi-world-")))
        trainer = StandInTrainer(folder / "musubi-tuner")
        make_packages(folder / "indexes", torch="2.9.1+cpu", torchvision="0.24.1+cpu")
        indexes = there(lambda: stack.enter_context(serving(folder / "indexes")))
        hub = there(lambda: stack.enter_context(running_hub()))
        add_weights(hub, size=200_000)
        port = stack.enter_context(_git_daemon(folder, net))
        yield World(net, trainer, f"git://127.0.0.1:{port}/musubi-tuner", indexes, folder / "indexes", hub)


@contextlib.contextmanager
def _git_daemon(folder: Path, net: Network | None) -> Iterator[int]:
    """Serve the repositories of a folder by git's own protocol; yield the port."""
    enter = ["nsenter", f"--net={net.path}"] if net is not None else []
    where = net.run if net is not None else (lambda make: make())
    port = where(_free_port)
    options = ["--export-all", f"--base-path={folder}", "--listen=127.0.0.1", f"--port={port}", "--reuseaddr"]
    daemon = subprocess.Popen([*enter, "git", "daemon", *options], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not where(lambda: _answers(port)):
            assert time.monotonic() < deadline, "git's daemon does not answer"
            time.sleep(0.05)
        yield port
    finally:
        daemon.terminate()
        daemon.wait(timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
