"""One small model and one small dataset for all tests here; children and training run in this process."""

import contextlib
import io
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from musabi.job.events import Event, parse
from small.model import TOML, draw_images, make_small_model

os.environ["OMP_NUM_THREADS"] = "1"
if find_spec("diffusers") is None or find_spec("torch") is None:  # the extra [diffusers] is not installed
    collect_ignore_glob = ["test_*.py"]


@dataclass(frozen=True)
class Models:
    """The small model's files, as DIT_PATH and its sisters name them."""

    folder: Path

    @property
    def dit(self) -> Path:
        return self.folder / "dit" / "diffusion_pytorch_model-00001-of-00002.safetensors"

    @property
    def vae(self) -> Path:
        return self.folder / "vae" / "ae.safetensors"

    @property
    def text_encoder(self) -> Path:
        return self.folder / "text_encoder" / "model-00001-of-00003.safetensors"

    @property
    def flags(self) -> list[str]:
        return ["--dit", str(self.dit), "--vae", str(self.vae), "--text_encoder", str(self.text_encoder)]


@dataclass(frozen=True)
class Dataset:
    """Five pictures in two buckets, three batches an epoch."""

    folder: Path

    @property
    def toml(self) -> Path:
        return self.folder / "dataset.toml"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"


@dataclass(frozen=True)
class Outcome:
    """What one child's main returned and said."""

    code: int
    events: list[Event]

    @property
    def said(self) -> str:
        return "\n".join(event.message for event in self.events if event.message)

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]

    @property
    def steps(self) -> list[Event]:
        return [event for event in self.events if event.loss is not None and event.kind is None]


@pytest.fixture
def run_child() -> Callable[..., Outcome]:
    return outcome


def outcome(main: Callable[[Sequence[str]], int], *argv: object) -> Outcome:
    """Run a child's main in this process and collect its events."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = main([str(part) for part in argv])
    return Outcome(code, [event for line in said.getvalue().splitlines() if (event := parse(line))])


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Put back the handlers that a training takes."""
    kept = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    for number, handler in kept:
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A small model whose base was fitted for a few steps only."""
    folder = tmp_path_factory.mktemp("models")
    make_small_model(folder, folder / "hf")
    return Models(folder)


@pytest.fixture(scope="session")
def cached(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Dataset:
    """A dataset with its caches; tests only read it."""
    from musabi.engines.diffusers import cache_latents, cache_text

    dataset = draw(tmp_path_factory.mktemp("dataset"))
    assert outcome(cache_latents.main, "--dataset_config", dataset.toml, "--vae", models.vae).code == 0
    texts = ("--dataset_config", dataset.toml, "--text_encoder", models.text_encoder)
    assert outcome(cache_text.main, *texts).code == 0
    return dataset


@pytest.fixture
def dataset(tmp_path: Path, cached: Dataset) -> Dataset:
    """A copy of the dataset with its caches, to be changed at will."""
    shutil.copytree(cached.images, tmp_path / "images")
    shutil.copytree(cached.cache, tmp_path / "cache")
    return _with_toml(tmp_path)


def draw(folder: Path) -> Dataset:
    draw_images(folder / "images")
    return _with_toml(folder)


def _with_toml(folder: Path) -> Dataset:
    dataset = Dataset(folder)
    dataset.toml.write_text(TOML.format(images=dataset.images, cache=dataset.cache))
    return dataset


PRODIGY = (
    *("--optimizer_type", "prodigyopt.Prodigy", "--learning_rate", "1.0", "--optimizer_args", "d0=1e-4"),
    *("use_bias_correction=True", "safeguard_warmup=True", "weight_decay=0.01", "betas=0.9,0.99"),
)
ADAMW = (
    *("--optimizer_type", "AdamW", "--learning_rate", "1e-3"),
    *("--lr_scheduler", "cosine_with_restarts", "--lr_warmup_steps", "3"),
)


OPTIMIZERS = {"prodigy": PRODIGY, "adamw": ADAMW}


@pytest.fixture
def training_argv(models: Models, cached: Dataset) -> Callable[..., list[str]]:
    """Make the arguments of a training: training_argv(output_dir, *flags, optimizer=..., toml=...)."""

    def make(folder: Path, *flags: object, optimizer: str = "prodigy", toml: Path | None = None) -> list[str]:
        return [
            *models.flags,
            *("--dataset_config", str(toml or cached.toml), "--output_dir", str(folder)),
            *("--output_name", "lora", "--network_dim", "4", "--network_alpha", "2", "--device", "cpu"),
            *OPTIMIZERS[optimizer],
            *(str(flag) for flag in flags),
        ]

    return make


@pytest.fixture
def run_training(training_argv: Callable[..., list[str]]) -> Callable[..., Outcome]:
    """Train in this process: run_training(output_dir, *flags, optimizer=..., toml=...)."""
    from musabi.engines.diffusers import train

    return lambda *args, **named: outcome(train.main, *training_argv(*args, **named))
