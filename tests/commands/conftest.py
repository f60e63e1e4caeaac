"""A ready workspace with a small model and a drawn dataset, and the program as a person runs it."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("diffusers") is None or find_spec("torch") is None:  # the extra [diffusers] is not installed
    collect_ignore_glob = ["test_*.py"]

TOML = """\
[general]
resolution = [64, 64]
caption_extension = ".txt"
batch_size = 2
enable_bucket = true

[[datasets]]
image_directory = "{root}/dataset/images"
cache_directory = "{root}/dataset/cache"
"""
PROMPT = "ohwx robot on a blue background --w 64 --h 64 --s 2 --l 1 --d 42\n"
SMALL = {
    "ENGINE": "diffusers",
    "OUTPUT_NAME": "demo",
    "NETWORK_DIM": "4",
    "NETWORK_ALPHA": "4",
    "MAX_TRAIN_EPOCHS": "2",
    "SAVE_EVERY_N_EPOCHS": "1",
}


@dataclass
class Space:
    """A workspace and the program run in it."""

    root: Path
    environment: dict[str, str]

    def start(self, *arguments: object, **more: Any) -> subprocess.Popen[str]:
        settings = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "stdin": subprocess.DEVNULL,
            "text": True,
        }
        argv = [sys.executable, "-m", "musabi", *map(str, arguments)]
        environment = self.environment | more.pop("env", {})
        return subprocess.Popen(argv, env=environment, cwd=self.root, **(settings | more))

    def run(self, *arguments: object, seconds: float = 180, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end; environment variables by name."""
        process = self.start(*arguments, env=env)
        out, err = process.communicate(timeout=seconds)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def ok(self, *arguments: object, **env: str) -> str:
        """Run a verb that must end well; return what it printed."""
        done = self.run(*arguments, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *arguments: object, **env: str) -> tuple[int, str]:
        """Run a verb that must be refused; return its exit code and the message, without any traceback."""
        done = self.run(*arguments, **env)
        assert done.returncode != 0 and "Traceback" not in done.stderr + done.stdout, done.stderr
        return done.returncode, done.stderr.removeprefix("Error: ").strip() or done.stdout.strip()

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.ok("status", "--json"))["run"]
        return status

    @property
    def output(self) -> Path:
        return self.root / "output"

    @property
    def images(self) -> Path:
        return self.root / "dataset" / "images"

    @property
    def toml(self) -> Path:
        return self.root / "dataset" / "dataset.toml"


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model whose base was fitted for a few steps only."""
    import torch

    from musabi.engines.diffusers import make_tiny

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_tiny, "STEPS", 6)
        patch.setattr(make_tiny, "PICTURES", 40)
        patch.setattr(make_tiny, "SIDE", 64)
        make_tiny.make_tiny(folder / "models", folder / "hf", seed=42, say=lambda text: None)
    return folder


def fill(root: Path, tiny: Path) -> Space:
    """Lay out a workspace: links to the small model, five pictures in two shapes, three steps an epoch."""
    from musabi.engines.diffusers import drawings

    (root / "dataset" / "images").mkdir(parents=True)
    (root / "models").symlink_to(tiny / "models")
    rng = random.Random(42)  # noqa: S311 - drawings, not secrets
    for number in range(5):
        picture, caption = drawings.draw_robot(rng, 64)
        picture.crop((0, 16, 64, 48) if number >= 3 else (0, 0, 64, 64)).save(
            root / "dataset" / "images" / f"robot{number}.png"
        )
        (root / "dataset" / "images" / f"robot{number}.txt").write_text(caption)
    (root / "dataset" / "dataset.toml").write_text(TOML.format(root=root))
    (root / "dataset" / "sample_prompts.txt").write_text(PROMPT)
    paths = {"WORKSPACE": str(root), "HF_HOME": str(tiny / "hf"), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
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
