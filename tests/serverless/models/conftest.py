"""A volume, a loopback hub with small models on it, and errands to bring them."""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from musabi.hub.access import Access
from musabi.hub.listing import RemoteFile, record
from musabi.hub.weights import Wanted
from musabi.serverless.context import Context
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.models.bring import bring
from musabi.serverless.models.errand import Errand
from musabi.serverless.models.ledger import Ledger
from musabi.serverless.models.locks import Pace
from musabi.serverless.models.sources import SDXL_CONFIGS, FileSet, sets_of
from musabi.serverless.parts import EngineChoice
from musabi.serverless.places import Places
from musabi.serverless.settings import EndpointSettings
from peers.loopback_hub import LoopbackHub, running_hub
from peers.model_files import safetensors

SDXL = "timoshishi/sdXL_v10VAEFix"
SDXL_FILE = "sdXL_v10VAEFix.safetensors"
SDXL_BASE = "stabilityai/stable-diffusion-xl-base-1.0"
QUICK = Pace(beat_s=0.2, patience_s=2)


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with running_hub() as running:
        running.add(SDXL, {SDXL_FILE: safetensors(300_000, 1), "README.md": b"# model"})
        running.add(SDXL_BASE, dict.fromkeys(SDXL_CONFIGS, b"{}") | {"unet/model.safetensors": b"large"})
        yield running


@dataclass
class Bench:
    """An endpoint's folders on a volume, and all that was told and said."""

    volume: Path
    hub: LoopbackHub
    told: list[tuple[str, float | None]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def places(self) -> Places:
        return Places(self.volume / "musabi", self.volume)

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "MUSABI_"))}
        return kept | {
            "HF_ENDPOINT": self.hub.url,
            "HOME": str(self.volume),
            "HF_TOKEN_PATH": str(self.volume / "no-token"),
            "HF_HUB_DISABLE_XET": "1",
        }

    def errand(self, **more: Any) -> Errand:
        access = Access(self.environ, stall_s=20, backoff_s=0.05, attempts=2)
        return Errand(
            self.places,
            access,
            "Model",
            lambda text, percent: self.told.append((text, percent)),
            self.said.append,
            self.cancel,
            **({"pace": QUICK} | more),
        )

    def bring(self, model: str, engine: str = "diffusion_pipe", **more: Any) -> dict[str, Path]:
        return bring(self.errand(**more), sets_of(choice(model, engine)))

    def put_configs(self) -> None:
        """Put what diffusers reads for sdxl into the endpoint's hub cache."""
        repo = self.places.hf_home / "hub" / f"models--{SDXL_BASE.replace('/', '--')}"
        for name in SDXL_CONFIGS:
            place = repo / "snapshots" / "abc" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("{}")
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text("abc")

    def put_model(self, unit: str, size: int, used: float) -> Path:
        """Put a model there as one that was fetched, and used at that time (Unix seconds)."""
        wanted = Wanted(unit, f"someone/{unit}", ("model.safetensors",), unit)
        one, ledger = FileSet("dit", wanted, wanted.patterns), Ledger(self.places)
        place = self.places.models / unit / "model.safetensors"
        place.parent.mkdir(parents=True)
        place.write_bytes(b"x" * size)
        ledger.remember(one, place, record(place, RemoteFile(place.name, size), wanted, "abc"))
        ledger.complete(one)
        ledger.touch(unit)
        os.utime(ledger.folder / "used" / unit, (used, used))
        return place

    def context(self, model: str, engine: str, secrets: dict[str, str]) -> Context:
        """Return a job's context; what the weights don't need of it is not there."""
        return Context(
            folder=JobFolder(self.volume / "job"),
            job_id="job",
            request=cast("Any", None),
            choice=choice(model, engine),
            secrets=secrets,
            environ=self.environ,
            settings=EndpointSettings(),
            places=self.places,
            updates=cast("Any", None),
            stop=self.cancel,
            say=self.said.append,
        )


def choice(model: str, engine: str = "diffusion_pipe") -> EngineChoice:
    return EngineChoice(cast("Any", engine), model, "Model", "a test wants it")


@pytest.fixture
def bench(tmp_path: Path, hub: LoopbackHub) -> Bench:
    return Bench(tmp_path / "volume", hub)


@pytest.fixture
def put(bench: Bench) -> Callable[[str, bytes], Path]:
    """Write a file below the volume."""

    def put(path: str, content: bytes) -> Path:
        place = bench.volume / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return place

    return put
