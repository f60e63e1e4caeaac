"""A pod in a folder: a loopback hub, a stand-in trainer, package indexes, and a bootstrap over them."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from musabi.pod.bootstrap.options import BootstrapOptions
from musabi.pod.bootstrap.run import bootstrap
from musabi.pod.bootstrap.state import bootstrap_status
from peers.loopback_hub import LoopbackHub, running_hub
from peers.model_files import add_weights
from peers.standin_trainer import StandInTrainer, make_packages, serving

TOKEN = "hf_averysecrettoken1234567890"
PYTHON = ".".join(map(str, sys.version_info[:2]))


@dataclass
class Pod:
    """One container on one volume. `run` bootstraps it; what it printed as JSON lines is in `lines`."""

    options: BootstrapOptions
    hub: LoopbackHub
    trainer: StandInTrainer
    indexes: str
    capture: pytest.CaptureFixture[str]
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.options.workspace

    def run(self, profile: str = "musubi", **changes: Any) -> int:
        self.capture.readouterr()
        code = bootstrap(replace(self.options, **changes), profile=profile, json=True)
        out = self.capture.readouterr().out
        self.lines = [json.loads(line) for line in out.splitlines()]
        return code

    @property
    def states(self) -> dict[str, str]:
        """How each stage stands, as `musabi status` sees it."""
        found = bootstrap_status(self.options.space)
        assert found is not None
        return {name: stage["state"] for name, stage in found["stages"].items()}

    def message(self, stage: str) -> str:
        """Return all that was said of a stage."""
        said = [line.get("message", "") for line in self.lines if line.get("stage") == stage]
        return "\n".join(dict.fromkeys(text for text in said if text))

    @property
    def last_words(self) -> str:
        return "\n".join(line["message"] for line in self.lines if "stage" not in line)

    @property
    def log(self) -> str:
        return (self.options.space.state / "bootstrap.log").read_text()

    def tampered(self, **environment: str) -> dict[str, str]:
        return {**self.options.environment, **environment}

    def machine(self, name: str) -> BootstrapOptions:
        """Return the options of another container on the same volume."""
        return replace(self.options, musabi_state_dir=self.options.musabi_state_dir.with_name(name))


@pytest.fixture(scope="session")
def uv_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uv-cache")


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with running_hub() as running:
        add_weights(running, size=200_000)
        yield running


@pytest.fixture
def trainer(tmp_path: Path) -> StandInTrainer:
    return StandInTrainer(tmp_path / "standin-musubi-tuner")


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[str]:
    make_packages(tmp_path / "indexes")
    with serving(tmp_path / "indexes") as url:
        yield url


@pytest.fixture
def environment(tmp_path: Path, hub: LoopbackHub, indexes: str, uv_cache: Path) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "UV_CACHE_DIR": str(uv_cache),
        "UV_DEFAULT_INDEX": f"{indexes}/packages",
        "UV_INDEX": f"pytorch={indexes}/torch",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_HTTP_RETRIES": "0",
        "UV_HTTP_TIMEOUT": "10",
        "UV_CONCURRENT_BUILDS": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }


@pytest.fixture
def source_root(tmp_path: Path) -> Path:
    """A checkout of ours, as far as the bootstrap takes something from it."""
    from musabi.pod.bootstrap.stages.layout import WRAPPERS

    root = tmp_path / "source"
    root.mkdir()
    for name in WRAPPERS:
        (root / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (root / name).chmod(0o755)
    (root / "dataset.toml.example").write_text(
        '[[datasets]]\nimage_directory = "/workspace/dataset/images"\n'
    )
    (root / "sample_prompts.txt").write_text("photo of ohwx woman\n")
    (root / "notebooks").mkdir()
    (root / "notebooks" / "00_musubi_tuner_runpod.ipynb").write_text("{}\n")
    return root


@pytest.fixture
def pod(
    tmp_path: Path,
    hub: LoopbackHub,
    trainer: StandInTrainer,
    indexes: str,
    environment: dict[str, str],
    source_root: Path,
    capsys: pytest.CaptureFixture[str],
) -> Pod:
    workspace = tmp_path / "workspace"
    options = BootstrapOptions(
        workspace=workspace,
        musubi_repo_url=trainer.url,
        musubi_python=PYTHON,
        hf_max_workers=4,
        hf_home=workspace / ".cache" / "huggingface",
        hf_hub_download_timeout=5,
        musabi_state_dir=tmp_path / "machine",
        environment=environment,
        source_root=source_root,
        backoff_s=0.05,
        attempts=3,
    )
    return Pod(options, hub, trainer, indexes, capsys)


@pytest.fixture
def make_machine(pod: Pod) -> Callable[[str], BootstrapOptions]:
    return pod.machine
