"""What every request to `musabi serve` passes first: Runpod's base path is taken off, and the key is asked for."""

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from musabi.serverless.http.auth import refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
BASE = re.compile(r"/v2/[^/]+(?=/)")
"""https://api.runpod.ai/v2/ENDPOINT/run: clients that know this form only change the host."""
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
)


class Gate:
    """Middleware around the application. `key` is the server's, None where it answers this machine alone."""

    def __init__(self, app: App, key: str | None) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = BASE.sub("", scope["path"], count=1) if scope["path"].startswith("/v2/") else scope["path"]
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        refused = refusal(headers, path, self._key)
        if refused is not None:
            await say_no(send_with_headers, *refused)
            return
        await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, send_with_headers)


async def say_no(send: Send, status: int, error: str) -> None:
    """Answer with an error."""
    body = json.dumps({"error": error}).encode()
    kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    challenge = [(b"www-authenticate", b"Bearer")] if status == 401 else []
    await send({"type": "http.response.start", "status": status, "headers": kind + challenge})
    await send({"type": "http.response.body", "body": body})
