"""What is looked at of an input before it waits: its secrets are taken out, and it is checked as a whole."""

from collections.abc import Iterable, Mapping
from typing import Any

from musabi.serverless.request.mistakes import Refused
from musabi.serverless.request.model import read_request
from musabi.serverless.request.secrets import secrets_of, split_secrets


def take_out(given: Any) -> tuple[Any, dict[str, str]]:  # noqa: ANN401 - any JSON value
    """Return an input with *** for secrets, and the secrets by their paths."""
    return split_secrets(given) if isinstance(given, dict) else (given, {})


def lacking(
    held: Iterable[str],
    secrets: Mapping[str, str],
    environ: Mapping[str, str],
    plain: Any,  # noqa: ANN401
) -> list[str]:
    """Return the paths of an input where a secret was and none is to be had any more."""
    try:
        there = secrets_of(secrets, environ, plain)
    except Refused:  # `refusal` says it
        return []
    return [path for path in held if path not in there]


def refusal(plain: Any, secrets: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, Any] | None:  # noqa: ANN401
    """Return the answer to an input that is wrong, None where it is right. `environ` may hold missing secrets."""
    try:
        read_request(plain, secrets=secrets_of(secrets, environ, plain))
    except Refused as wrong:
        return wrong.answer()
    return None
