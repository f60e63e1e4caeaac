"""A ready workspace with a small model and a drawn dataset, and the program as a person runs it.

What asks an endpoint needs neither: it has a stand-in for Runpod's queue.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from musabi.commands import watching_jobs
from peers.job_verbs import EXAMPLE, JobVerbs
from peers.loopback_runpod_queue import KEY, running_queue
from small.model import PROMPT, SMALL, TOML, draw_images, make_small_model
from small.space import Space

NEEDS_NO_MODEL = ("test_submit.py", "test_jobs.py")

if find_spec("diffusers") is None or find_spec("torch") is None:  # the extra [diffusers] is not installed
    collect_ignore = [
        file.name for file in Path(__file__).parent.glob("test_*.py") if file.name not in NEEDS_NO_MODEL
    ]


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model whose base was fitted for a few steps only."""
    folder = tmp_path_factory.mktemp("tiny")
    make_small_model(folder / "models", folder / "hf")
    return folder


def fill(root: Path, tiny: Path) -> Space:
    """Lay out a workspace: links to the small model, five pictures in two shapes, three steps an epoch."""
    draw_images(root / "dataset" / "images")
    (root / "models").symlink_to(tiny / "models")
    text = TOML.format(images=root / "dataset" / "images", cache=root / "dataset" / "cache")
    (root / "dataset" / "dataset.toml").write_text(text)
    (root / "dataset" / "sample_prompts.txt").write_text(PROMPT)
    paths = {"WORKSPACE": str(root), "HF_HOME": str(tiny / "hf"), "COLUMNS": "100"}
    return Space(root, os.environ | SMALL | paths)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path) -> Space:
    """A workspace whose caches are made; tests only read it."""
    space = fill(tmp_path_factory.mktemp("prepared"), tiny_models)
    space.ok("prepare")
    return space


@pytest.fixture
def empty(tmp_path: Path, tiny_models: Path) -> Space:
    """A workspace of the test's own without caches."""
    return fill(tmp_path / "ws", tiny_models)


@pytest.fixture
def space(tmp_path: Path, tiny_models: Path, prepared: Space) -> Space:
    """A workspace of the test's own, with its caches."""
    mine = fill(tmp_path / "ws", tiny_models)
    shutil.copytree(prepared.root / "dataset" / "cache", mine.root / "dataset" / "cache")
    return mine


@pytest.fixture
def tensors() -> Callable[[Path], dict[str, Any]]:
    """Read the tensors of a safetensors file."""
    from safetensors.torch import load_file

    return lambda path: load_file(path)


@pytest.fixture
def verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobVerbs]:
    """The verbs submit and jobs, with a queue of their own and nothing remembered."""
    monkeypatch.setenv("MUSABI_API_KEY", KEY)
    monkeypatch.setenv("MUSABI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    monkeypatch.setattr(watching_jobs, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(watching_jobs, "QUIET_SECONDS", 0.0)
    with running_queue() as queue:
        yield JobVerbs(queue)


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    """A request that is right, as a person has it."""
    path = tmp_path / "robot.json"
    path.write_text(json.dumps({"input": EXAMPLE, "policy": {"ttl": 90_000}}))
    return path
