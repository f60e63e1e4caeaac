"""The two TOML files that diffusion-pipe reads, made of a job. Pure.

Defaults are those of the API's original; where it left a key open, those of diffusion-pipe's examples.
"""

from collections.abc import Mapping
from typing import Any

import tomlkit

from musabi.engines.diffusion_pipe.job import PipeJob
from musabi.engines.diffusion_pipe.places import PipePlaces

ROOT: dict[str, Any] = {
    "micro_batch_size_per_gpu": 1,
    "pipeline_stages": 1,
    "gradient_accumulation_steps": 4,
    "gradient_clipping": 1.0,
    "warmup_steps": 100,
    "activation_checkpointing": True,
    "partition_method": "parameters",
    "save_dtype": "bfloat16",
    "caching_batch_size": 1,
    "steps_per_print": 1,
    "video_clip_mode": "single_middle",
}
ADAPTER: dict[str, Any] = {"type": "lora", "rank": 32, "dtype": "bfloat16"}
OPTIMIZER: dict[str, Any] = {"type": "adamw_optimi", "lr": 2e-5}
ADAM: dict[str, Any] = {"betas": [0.9, 0.99], "weight_decay": 0.01, "eps": 1e-8}
"""Of the default optimizer only: another one may not know these."""
DATASET: dict[str, Any] = {
    "resolutions": [1024],
    "enable_ar_bucket": True,
    "min_ar": 0.5,
    "max_ar": 2.0,
    "num_ar_buckets": 7,
    "frame_buckets": [1, 33],
    "skip_empty_caption": True,
}
MODEL: dict[str, dict[str, Any]] = {
    "flux": {"dtype": "bfloat16", "transformer_dtype": "float8", "flux_shift": True},
    "sdxl": {"dtype": "bfloat16"},
    "wan": {"dtype": "bfloat16", "timestep_sample_method": "logit_normal"},
    "qwen_image": {
        "dtype": "bfloat16",
        "transformer_dtype": "float8",
        "timestep_sample_method": "logit_normal",
    },
    "z_image": {"dtype": "bfloat16"},
}
OWN_NAMES = {"z_image": {"transformer_dtype": "diffusion_model_dtype"}}
"""Keys that models built on ComfyUI know by another name."""


def config_toml(job: PipeJob, places: PipePlaces) -> str:
    """Return the training's TOML: root keys, [model], [adapter], [optimizer]."""
    document = tomlkit.document()
    _add(
        document, {"output_dir": str(places.trainings), "dataset": str(places.dataset), "epochs": job.epochs}
    )
    _add(document, ROOT | job.suited("root"))
    _add(document, _saving(job))
    for name, values in (
        ("model", _model(job)),
        ("adapter", ADAPTER | job.suited("adapter")),
        ("optimizer", _optimizer(job)),
    ):
        table = tomlkit.table()
        _add(table, values)
        document.add(name, table)
    return tomlkit.dumps(document)


def dataset_toml(job: PipeJob) -> str:
    """Return the dataset's TOML: how pictures are sized, and a [[directory]] for each folder."""
    document = tomlkit.document()
    values = DATASET | job.suited("dataset")
    if "ar_buckets" in values:
        values = {
            key: value for key, value in values.items() if key not in ("min_ar", "max_ar", "num_ar_buckets")
        }
    _add(document, values)
    folders = tomlkit.aot()
    for folder, repeats in job.directories:
        table = tomlkit.table()
        _add(table, {"path": str(folder), "num_repeats": repeats})
        folders.append(table)
    document.add("directory", folders)
    return tomlkit.dumps(document)


def _saving(job: PipeJob) -> dict[str, Any]:
    """Return when LoRAs and states are saved; diffusion-pipe knows an interval for states in one unit only."""
    states = (
        {}
        if "checkpoint_every_n_epochs" in job.root
        else {"checkpoint_every_n_minutes": job.checkpoint_every_n_minutes}
    )
    return {"save_every_n_epochs": min(job.save_every_n_epochs, job.epochs)} | states


def _model(job: PipeJob) -> dict[str, Any]:
    values = MODEL[job.type] | job.suited("model")
    if "shift" in values and "flux_shift" not in job.model:
        values.pop("flux_shift", None)
    own = OWN_NAMES.get(job.type, {})
    return {"type": job.type} | {own.get(key, key): value for key, value in values.items()}


def _optimizer(job: PipeJob) -> dict[str, Any]:
    given = job.suited("optimizer")
    values = OPTIMIZER | given
    return (OPTIMIZER | ADAM | given) if values["type"] == OPTIMIZER["type"] else values


def _add(table: Any, values: Mapping[str, Any]) -> None:  # noqa: ANN401 - tomlkit's document or table
    for key, value in values.items():
        table.add(key, value)
