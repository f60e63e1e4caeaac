"""Looks a value of a request up by its dotted path."""

from collections.abc import Mapping
from typing import Any


def at(given: object, path: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return what stands at a path such as output.s3.bucket; None where nothing does."""
    value = given
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
