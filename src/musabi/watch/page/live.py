"""What changes on a page while somebody looks: server-sent events, a part of the page each.

A part is sent where its HTML is another than the one that the browser has. Which ones it has, it says itself: an
event's id holds a short hash of every part, and a browser that reconnects sends the last id it saw (Last-Event-ID).
So the server remembers nothing, and a stream may end at any time: Runpod's proxy ends one after 100 s.
"""

import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

import anyio

LOOK_SECONDS = 2.0
STREAM_SECONDS = 85.0
"""After this the stream ends by itself and the browser asks again: less than any proxy's patience."""
AGAIN_MS = 500
HASH = re.compile(r"[0-9a-f]{12}")
Parts = Callable[[], Mapping[str, str]]


class Gone(Protocol):
    """Tells whether the browser has gone (starlette's Request.is_disconnected)."""

    async def __call__(self) -> bool: ...


async def stream(
    parts: Parts,
    last_id: str,
    gone: Gone,
    look_s: float = LOOK_SECONDS,
    stream_s: float = STREAM_SECONDS,
) -> AsyncIterator[str]:
    """Yield the events of a page. `parts` makes its parts anew; `last_id` is what the browser saw last, or ""."""
    seen = hashes_of(last_id)
    until = time.monotonic() + stream_s
    yield f"retry: {AGAIN_MS}\n\n"
    while time.monotonic() < until and not await gone():
        made = await anyio.to_thread.run_sync(parts)
        said = False
        seen = {name: short for name, short in seen.items() if name in made}
        for name, html in made.items():
            short = hash_of(html)
            if seen.get(name) != short:
                seen[name] = short
                said = True
                yield event({"part": name, "html": html, "hash": short}, id_of(seen))
        if not said:
            yield ": still here\n\n"  # so that a connection that broke is noticed
        await anyio.sleep(look_s)


def event(value: object, event_id: str) -> str:
    """Return one event as it goes over the wire; lone surrogates of odd file names become question marks."""
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
    return f"id: {event_id}\ndata: {text}\n\n"


def hash_of(html: str) -> str:
    """Return what tells one HTML from another."""
    return hashlib.sha256(html.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def id_of(seen: Mapping[str, str]) -> str:
    """Return an event's id: every part with its hash."""
    return ",".join(f"{name}={short}" for name, short in sorted(seen.items()))


def hashes_of(event_id: str) -> dict[str, str]:
    """Return the hashes that an id holds; what is no id of ours holds none."""
    pairs = (pair.partition("=") for pair in event_id.split(","))
    return {name: short for name, _, short in pairs if name and HASH.fullmatch(short)}
