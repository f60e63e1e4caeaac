"""A loopback hub with Z-Image's weights, and a patient-less way to it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from musabi.hub.access import Access
from musabi.hub.fetch import Transfer, bytes_to_come, fetch, missing
from musabi.hub.listing import list_files
from musabi.hub.weights import Places, Wanted, wanted_sets
from peers.loopback_hub import LoopbackHub, running_hub
from peers.model_files import add_weights

TOKEN = "hf_averysecrettoken1234567890"
SETS = {wanted.name: wanted for wanted in wanted_sets()}


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with running_hub() as running:
        add_weights(running)
        yield running


@dataclass
class Bench:
    """A place to fetch to, and everything that was said, logged and remembered on the way."""

    places: Places
    access: Access
    known: dict[str, dict[str, object]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)

    def transfer(self, name: str) -> Transfer:
        wanted: Wanted = SETS[name]
        return Transfer(
            wanted,
            list_files(wanted, self.access, self.said.append),
            self.places,
            self.access,
            self.known,
            lambda path, record: self.known.__setitem__(str(path), record),
            self.moved.append,
            self.said.append,
            self.logged.append,
        )

    def fetch(self, name: str) -> Transfer:
        transfer = self.transfer(name)
        still = missing(transfer)
        bytes_to_come(transfer, still)
        if still:
            fetch(transfer, still)
        return transfer


@pytest.fixture
def environment(tmp_path: Path, hub: LoopbackHub) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DOWNLOAD_TIMEOUT": "5",
        "HF_TOKEN": TOKEN,
    }


@pytest.fixture
def make_bench(tmp_path: Path, environment: dict[str, str]) -> Callable[..., Bench]:
    def make(stall_s: float = 60, **more: str) -> Bench:
        access = Access(environment | more, max_workers=2, stall_s=stall_s, backoff_s=0.05, attempts=3)
        return Bench(Places(tmp_path / "models", tmp_path / "hf" / "hub"), access)

    return make


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()
