"""Jobs and facts for plans, and what the real trainer printed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from musabi.contract import committed
from musabi.engines.musubi.contract import Installed
from musabi.engines.musubi.engine import MusubiEngine
from musabi.job.facts import BucketFacts, CacheFacts, DatasetFacts, Facts, MachineFacts, TrainerFacts
from musabi.job.model import Job
from musabi.job.plan import Schedule
from musabi.recipes import load

HERE = Path(__file__).parent
WORKSPACE = Path("/workspace")
GIB = 1024**3


@pytest.fixture
def engine() -> MusubiEngine:
    return MusubiEngine()


@pytest.fixture
def job() -> Callable[..., Job]:
    """Make a job as the environment's defaults give it; values are fields of Job."""

    def make(**values: object) -> Job:
        paths = {
            "output_dir": WORKSPACE / "output",
            "logging_dir": WORKSPACE / "logs",
            "dataset_config": WORKSPACE / "dataset/dataset.toml",
            "sample_prompts": WORKSPACE / "dataset/sample_prompts.txt",
        }
        recipe = load(str(values.get("model", "z-image")))
        weights = {
            role: WORKSPACE / "models" / one.folder / one.first for role, one in recipe.weights.items()
        }
        return Job.model_validate({**paths, "weights": weights, **values})

    return make


@pytest.fixture
def facts() -> Callable[..., Facts]:
    """Make the facts of a pod with `gpus` of 80 GiB each and fresh caches."""

    def make(
        gpus: int = 1,
        memory: int = 80 * GIB,
        packages: tuple[str, ...] = ("bitsandbytes", "prodigyopt", "tensorboard"),
        dataset: DatasetFacts | None = None,
        **trainer: object,
    ) -> Facts:
        environment = TrainerFacts(
            python=Path("/workspace/musubi-tuner/.venv/bin/python"),
            root=Path("/workspace/musubi-tuner"),
            commit="30c658c" + "0" * 33,
            torch="2.9.1+cu128",
            packages=frozenset(packages),
            contract=Installed(committed()),
        )
        return Facts(
            machine=MachineFacts(gpus=(memory,) * gpus, cpus=8),
            dataset=dataset or fresh_dataset(),
            trainer=replace(environment, **trainer),  # type: ignore[arg-type]
            environment={"HF_HOME": "/workspace/.cache/huggingface", "HF_HUB_ENABLE_HF_TRANSFER": "1"},
        )

    return make


def fresh_dataset() -> DatasetFacts:
    return DatasetFacts(
        images=54,
        batches_per_epoch=27,
        buckets=(BucketFacts(1024, 1024, 54, 27),),
        fingerprint="f",
        latents=CacheFacts(expected=54),
        text=CacheFacts(expected=54),
    )


@pytest.fixture
def timing() -> Schedule:
    """27 steps an epoch, 93 epochs, a checkpoint every 10 epochs."""
    return Schedule(
        steps_per_epoch=27,
        epochs=93,
        steps=2511,
        warmup_steps=100,
        save_every=10,
        state_every=10,
        sample_every=None,
    )


@pytest.fixture
def recording() -> Callable[[str], str]:
    """Return what musubi-tuner v0.3.4 printed (stdout and stderr merged), carriage returns and all."""

    def read(name: str) -> str:
        return (HERE / "recordings" / name).read_bytes().decode()

    return read
