"""The nine mistakes that the original endpoint found, in its order and its words.

Measured on dev-mirzabicer/serverless_implementation 70937ea. It took null and an empty text for an address or a
secret, and failed once the dataset was there; here a secret that says nothing is missing.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from musabi.serverless.request.mistakes import Mistake, shown
from musabi.serverless.request.model_types import ORIGINAL, find

TYPES = ("precaptioned", "images", "videos", "both")
Has = Callable[[str], bool]
"""Tells whether a secret is there, by its path."""


def original_mistakes(given: Mapping[str, Any], has: Has) -> Iterator[Mistake]:
    """Yield what the original would have found, the first one first."""
    yield from _model(given)
    yield from _dataset(given)
    yield from _secrets(given, has)


def _model(given: Mapping[str, Any]) -> Iterator[Mistake]:
    if "model_type" not in given:
        yield Mistake("model_type", "Missing required field: model_type")
        return
    name = given["model_type"]
    if not isinstance(name, str) or find(name) is None:
        known = [one.name for one in ORIGINAL]
        text = shown(name, quoted=False)
        yield Mistake("model_type", f"Invalid model_type: {text}. Must be one of: {known}")


def _dataset(given: Mapping[str, Any]) -> Iterator[Mistake]:
    if "dataset" not in given:
        yield Mistake("dataset", "Missing required field: dataset")
        return
    dataset = given["dataset"]
    if not isinstance(dataset, Mapping):
        return
    if "type" not in dataset:
        yield Mistake("dataset.type", "Missing required field: dataset.type")
        return
    kind = dataset["type"]
    if kind not in TYPES:
        yield Mistake("dataset.type", f"Invalid dataset.type: {shown(kind, quoted=False)}")
        return
    for medium in ("images", "videos"):
        if kind in (medium, "both") and f"{medium}_url" not in dataset:
            message = f"{medium}_url is required when dataset.type is '{medium}' or 'both'"
            yield Mistake(f"dataset.{medium}_url", message)


def _secrets(given: Mapping[str, Any], has: Has) -> Iterator[Mistake]:
    if given.get("model_type") == "flux" and not has("api_keys.huggingface_token"):
        path = "api_keys.huggingface_token"
        yield Mistake(path, "huggingface_token is required for flux model")
    dataset = given.get("dataset")
    kind = dataset.get("type") if isinstance(dataset, Mapping) else None
    local = isinstance(dataset, Mapping) and dataset.get("caption_with") in ("qwen2.5-vl", "qwen3-vl")
    if kind in ("videos", "both") and not local and not has("api_keys.gemini_api_key"):
        path = "api_keys.gemini_api_key"
        yield Mistake(path, "gemini_api_key is required for video captioning")
