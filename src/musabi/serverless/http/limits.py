"""What a request may weigh, and how its body becomes a JSON value that everything behind can take."""

import json
from collections.abc import AsyncIterable
from typing import Any

MOST_RUN = 10 * 10**6
"""Bytes of a /run request: Runpod's limit (docs, 2026-08)."""
MOST_RUNSYNC = 20 * 10**6
"""Bytes of a /runsync request: Runpod's limit."""
MOST_SMALL = 100_000
"""Bytes of any other request."""
WAIT_MS = (1_000, 300_000)
DEFAULT_WAIT_MS = 90_000
"""How long /runsync waits in milliseconds, as on Runpod."""
BODY_SECONDS = 60.0
MOST_DEPTH = 32
"""How deep a request may be nested: the documented ones are four deep, and Python's stack is finite."""


class BadRequest(Exception):  # noqa: N818 - an answer, not an error
    """The request is wrong; the message says how, `status` is HTTP's."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


async def read_limited(chunks: AsyncIterable[bytes], most: int) -> bytes:
    """Return a body; what it says of its own length is not relied on.

    Raises:
        BadRequest: it is larger than `most` bytes (413).
    """
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > most:
            raise BadRequest(
                f"The request is larger than {most // 10**6 or most / 10**6:g} MB. Put the dataset on a server and "
                "send its address.",
                413,
            )
    return bytes(body)


def parse_body(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; nothing stands for an empty one.

    Raises:
        BadRequest: it is no JSON object, or one that can't be stored: NaN, half a surrogate pair, too deep.
    """
    try:
        value = json.loads(body or b"{}", parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise BadRequest("The request is nested too deeply.") from None
    except UnicodeEncodeError:
        raise BadRequest(
            "The request holds half a character (a lone surrogate). Send valid Unicode."
        ) from None
    except ValueError as problem:
        raise BadRequest(f"The request is no valid JSON ({problem}).") from None
    if not isinstance(value, dict):
        raise BadRequest('The request must be a JSON object, such as {"input": {...}}.')
    if _depth(value) > MOST_DEPTH:
        raise BadRequest("The request is nested too deeply.")
    return value


def read_wait(value: str | None) -> float:
    """Return how long /runsync waits, in seconds; `value` is what the address says, in milliseconds.

    Raises:
        BadRequest: it is no whole number, or out of bounds.
    """
    least, most = WAIT_MS
    if value is None:
        return DEFAULT_WAIT_MS / 1000
    if not (value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most):
        raise BadRequest(f"wait is in milliseconds, a whole number from {least} to {most}.")
    return int(value) / 1000


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _depth(value: Any) -> int:  # noqa: ANN401 - any JSON value
    deepest, level = 0, [value]
    while level:
        deepest += 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return deepest
