"""Turns a file that a person has into the requests that an endpoint takes: request.json, or a job file.

A job file says the same as a request in the words of `musabi run`. What an endpoint decides by itself (folders,
what becomes of a pod) is left out and named; what it can't do is refused by name, before anything is billed.
"""

import json
import tomllib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musabi.errors import RequestError
from musabi.serverless.request.look_up import at
from musabi.serverless.request.secrets import NAMED, SECRET_PATHS
from musabi.serverless.settings import SECRET_PREFIX
from musabi.settings import load, of_group

FIRST_SEED = 42
ON_RUNPOD = {"executionTimeout": 24 * 3600 * 1000, "ttl": 7 * 24 * 3600 * 1000}
"""A policy in milliseconds: Runpod's own ends a job after 10 minutes, and forgets it 24 hours after it was sent."""
FORMATS = {"bf16": "bfloat16", "fp16": "float16", "float": "float32"}
TRAINING: dict[str, str] = {
    "max_train_epochs": "epochs",
    "max_train_steps": "max_steps",
    "learning_rate": "learning_rate",
    "network_dim": "lora_rank",
    "save_every_n_epochs": "save_every_n_epochs",
    "optimizer": "optimizer_type",
    "seed": "seed",
    "blocks_to_swap": "blocks_to_swap",
    "compile": "compile",
    "gradient_checkpointing": "activation_checkpointing",
    "save_precision": "save_dtype",
}
"""Setting of a job file -> field of the request's training."""
DATASET: dict[str, str] = {"trigger_word": "trigger_word", "caption_with": "caption_with"}
ELSEWHERE = frozenset({"model", "engine", "output_name", "publish_to", "dataset_config", "target_steps"})
LEFT_OUT: dict[str, str] = {
    "network_alpha": "an endpoint's alpha is the rank",
    "sample_prompts": "an endpoint writes its own",
    "output_dir": "each of an endpoint's jobs has its own",
    "logging_dir": "each of an endpoint's jobs has its own",
    "keep_last_states": "an endpoint keeps what it needs to go on",
}
OF_A_DATASET_TOML = {"resolution": "resolution", "batch_size": "batch_size"}


@dataclass(frozen=True)
class Submission:
    """What is sent: the whole body of a request, a name for people, and what should be said before."""

    body: dict[str, Any]
    name: str
    said: tuple[str, ...] = ()


def with_time(submission: Submission) -> Submission:
    """Return the submission for Runpod, with time for a training where it says nothing of it."""
    policy = submission.body.get("policy", {})
    missing = {name: value for name, value in ON_RUNPOD.items() if name not in policy}
    if not isinstance(policy, dict) or "executionTimeout" not in missing:
        return submission
    said = "The job may take 24 hours, not Runpod's 10 minutes. policy.executionTimeout says otherwise."
    body = submission.body | {"policy": missing | policy}
    return Submission(body, submission.name, (*submission.said, said))


def read_submission(file: Path, images: str | None = None, videos: str | None = None) -> Submission:
    """Return what a file asks for. `images` and `videos` are addresses of dataset archives; they win.

    Raises:
        RequestError: the file can't be read, or asks for what a request has no field for.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RequestError(f"{file} is not there. Name a request.json or a job.toml.") from None
    except (IsADirectoryError, UnicodeDecodeError):
        raise RequestError(f"{file} is no text file. Name a request.json or a job.toml.") from None
    if file.suffix.lower() == ".toml":
        return from_job_file(file, text, images, videos)
    return from_json(file, text, {"images_url": images, "videos_url": videos})


def from_json(file: Path, text: str, addresses: Mapping[str, str | None]) -> Submission:
    """Return a request from its JSON: the whole body, or only its input."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as wrong:
        raise RequestError(f"{file} is no JSON: {wrong.msg}, line {wrong.lineno}.") from None
    if not isinstance(value, dict):
        raise RequestError(
            f'{file} holds no JSON object. It must be {{"input": {{...}}}}, or the input alone.'
        )
    body = value if "input" in value else {"input": value}
    if not isinstance(body["input"], dict):
        raise RequestError(f'"input" of {file} is no JSON object.')
    for name, address in addresses.items():
        if address is not None:
            body["input"].setdefault("dataset", {})[name] = address
    return Submission(body, file.stem, tuple(literal_tokens(body["input"])))


def from_job_file(file: Path, text: str, images: str | None, videos: str | None) -> Submission:
    """Return a request from a job file; the dataset comes from the addresses."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise RequestError(f"{file} is not TOML: {wrong}.") from None
    settings = load({}, given)
    if images is None and videos is None:
        raise RequestError(
            "An endpoint fetches the dataset itself. Say where it is with --images URL or --videos URL."
        )
    if "max_train_epochs" not in given:
        raise RequestError(f"Set max_train_epochs in {file}: an endpoint counts epochs.")
    refuse_what_has_no_field(given, file)
    captions = settings.caption_with is not None
    dataset = {
        "type": type_of(images, videos) if captions else "precaptioned",
        **{name: url for name, url in (("images_url", images), ("videos_url", videos)) if url is not None},
        **{field: getattr(settings, name) for name, field in DATASET.items() if name in given},
    }
    training = {
        "gradient_accumulation_steps": 1,  # as musabi run; the API's own default is 4
        "optimizer_type": settings.optimizer,
        **of_the_dataset(file.absolute().parent / str(given.get("dataset_config", "dataset.toml"))),
        **{field: getattr(settings, name) for name, field in TRAINING.items() if name in given},
    }
    if "save_dtype" in training:
        training["save_dtype"] = FORMATS[str(training["save_dtype"])]
    body = {
        "model_type": settings.model,
        "engine": settings.engine,
        "dataset": dataset,
        "training": training,
        "output": output_of(settings.publish_to),
    }
    left = [f"{name} is left out: {why}." for name, why in LEFT_OUT.items() if name in given]
    left += [f"{name} is left out: it is about a pod." for name in given if name in pod_settings()]
    return Submission({"input": body}, settings.output_name, tuple(left))


def refuse_what_has_no_field(given: Mapping[str, Any], file: Path) -> None:
    """Refuse settings that neither a request nor the endpoint itself knows."""
    known = TRAINING.keys() | DATASET.keys() | LEFT_OUT.keys() | ELSEWHERE | pod_settings()
    odd = [name for name in given if name not in known]
    if odd:
        raise RequestError(
            f"{file} sets {', '.join(odd)}, which a request has no field for. Take it out, or write the request as "
            "JSON: training may hold the trainer's own arguments there."
        )


def pod_settings() -> frozenset[str]:
    """Return the settings that are about the machine: an endpoint has its own."""
    return frozenset(name.lower() for name in of_group("pod")) - {"publish_to"}


def type_of(images: str | None, videos: str | None) -> str:
    """Return the request's dataset.type where an endpoint captions."""
    if images is not None and videos is not None:
        return "both"
    return "images" if images is not None else "videos"


def of_the_dataset(file: Path) -> dict[str, Any]:
    """Return what a dataset TOML says of the training; nothing where there is none."""
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}
    tables = values.get("datasets")
    first = tables[0] if isinstance(tables, list) and tables and isinstance(tables[0], dict) else {}
    general = values.get("general")
    found = (general if isinstance(general, dict) else {}) | first
    return {field: found[name] for name, field in OF_A_DATASET_TOML.items() if name in found}


def output_of(publish_to: str | None) -> dict[str, Any]:
    """Return the request's output for PUBLISH_TO: hf:USER/REPO, s3://BUCKET/PREFIX, or nothing.

    Raises:
        RequestError: it is a folder, which an endpoint can't reach.
    """
    if publish_to is None:
        return {"method": "auto"}
    if publish_to.startswith("hf:"):
        return {"method": "huggingface", "huggingface": {"repo_id": publish_to.removeprefix("hf:")}}
    if publish_to.startswith("s3://"):
        bucket, _, prefix = publish_to.removeprefix("s3://").partition("/")
        return {"method": "s3", "s3": {"bucket": bucket} | ({"key_prefix": prefix} if prefix else {})}
    raise RequestError(
        f"publish_to is {publish_to}: an endpoint can't write there. Use hf:USER/REPO or s3://BUCKET/PREFIX."
    )


def literal_tokens(given: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every token that stands in the file itself."""
    said = []
    for path in SECRET_PATHS:
        value = at(given, path)
        if isinstance(value, str) and value and not value.startswith(NAMED):
            said.append(
                f"{path} stands in the file as it is. Safer: set {SECRET_PREFIX}NAME on the endpoint and write "
                f'"{NAMED}{SECRET_PREFIX}NAME".'
            )
    return said


def numbered(body: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Return the bodies of `count` jobs: each has a seed of its own, from the request's or 42 upward."""
    if count == 1:
        return [dict(body)]
    bodies = []
    for number in range(count):
        one = deepcopy(dict(body))
        training = one["input"].setdefault("training", {})
        seed = training.get("seed")
        training["seed"] = (seed if isinstance(seed, int) else FIRST_SEED) + number
        bodies.append(one)
    return bodies
