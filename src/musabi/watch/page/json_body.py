"""The JSON object that a change brings."""

import json
from contextlib import suppress
from typing import Any

from starlette.requests import Request

from musabi.errors import RequestError

MOST_BYTES = 1_000_000
"""Of a change: captions, settings and names, never files."""


async def json_of(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request brings.

    Raises:
        RequestError: it is none, or too long.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise RequestError("That is too much at once.")
    with suppress(ValueError, RecursionError):
        value = json.loads(body)
        if isinstance(value, dict):
            return value
    raise RequestError("The page sent something that can't be read. Load it again.")
