"""Job files that the page writes: of what was typed, and of an earlier run, to start it as it was."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musabi.errors import RequestError
from musabi.job.model import Job
from musabi.recipes import make_job
from musabi.settings import Settings, load
from musabi.whole import write_text
from musabi.workspace import Workspace

OURS = "# The run page wrote this job."
MOST_FILES = 100
CACHING = {
    "run_latents": "run_latent_cache",
    "run_text": "run_text_encoder_cache",
    "latent_device": "latent_device",
    "text_device": "text_encoder_device",
    "latent_batch_size": "latent_batch_size",
    "text_batch_size": "text_encoder_batch_size",
    "latent_workers": "latent_num_workers",
    "text_workers": "text_encoder_num_workers",
    "latent_skip_existing": "latent_skip_existing",
    "text_skip_existing": "text_encoder_skip_existing",
    "fp8_text_encoder": "enable_fp8_llm",
    "disable_cudnn_backend": "disable_cudnn_backend",
}
"""The settings that the fields of a job's caching come from."""


def typed(values: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what was typed as a job file holds it, the model and the name always with it.

    Raises:
        RequestError: a value cannot be right.
    """
    settings = load(environ, values)
    return {name: getattr(settings, name) for name in ("model", "output_name", *values)}


def of_run(job: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that make a run's job again: those that this environment alone would make otherwise.

    Raises:
        RequestError: the record holds no job of this version.
    """
    try:
        wanted = settings_of(Job.model_validate(dict(job)))
    except ValueError as problem:
        raise RequestError(
            "The run's record holds a job that can't be read. Start it from a terminal."
        ) from problem
    first = {name: wanted[name] for name in ("model", "output_name")}
    plain = settings_of(make_job(load(environ, first)))
    differing = {
        name: value for name, value in wanted.items() if value != plain.get(name) and value is not None
    }
    return first | differing


def settings_of(job: Job) -> dict[str, Any]:
    """Return the settings that a job was made of."""
    same = {name: getattr(job, name) for name in Job.model_fields.keys() & Settings.model_fields.keys()}
    files = {f"{role}_path": path for role, path in job.weights.items()}
    caching = {setting: getattr(job.caching, name) for name, setting in CACHING.items()}
    return same | files | caching | {"gpus": "all" if job.gpus is None else str(job.gpus)}


def job_text(values: Mapping[str, Any], path: Path) -> str:
    """Return the text of a job file at `path`."""
    rows = [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]
    return "\n".join([f"{OURS} Start it with: musabi run {path}", "", *rows, ""])


def write_job(space: Workspace, values: Mapping[str, Any]) -> Path:
    """Write a job file into the workspace's folder jobs and return it; one that a person wrote is never replaced.

    It is for its owner alone: arguments for the trainer may hold a key.
    """
    path = _place(space.root / "jobs", str(values["output_name"]))
    write_text(path, job_text(values, path), 0o600)
    return path


def _place(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, MOST_FILES):
        path = folder / f"{name}{'' if number == 1 else f'-{number}'}.toml"
        if not path.is_symlink() and (not path.exists() or _is_ours(path)):
            return path
    raise RequestError(f"{folder} has too many job files named {name}. Choose another name.")


def _is_ours(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline().startswith(OURS)
    except OSError:
        return False


def _toml(value: Any) -> str:  # noqa: ANN401 - any setting's value
    """Write a value as TOML does; numbers, switches, lists and texts look the same in JSON."""
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )
