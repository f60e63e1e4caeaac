"""Gemini describes a video: five calls of its REST interface, by plain httpx.

POST /upload/v1/files says what comes and gets an address (resumable upload), POST to that address sends it in
pieces of 8 MiB, GET /v1/files/ID until the file is ACTIVE, POST /v1/models/M:generateContent asks, DELETE
/v1/files/ID removes it, whatever came before (https://ai.google.dev/api/files, .../api/generate-content).
The key goes into a header of the calls to Gemini's own address, and nowhere else.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from musabi.captioning.gemini_clip import Clip
from musabi.captioning.gemini_errors import (
    LONGEST_WAIT_S,
    ClipFailedError,
    NoSuchModelError,
    Said,
    TryAgainError,
    problem_of,
    read_answer,
)
from musabi.captioning.models import VIDEO
from musabi.errors import MachineError, RequestError

PIECE = 8 * 1024**2
FILE_NAME = re.compile(r"files/[A-Za-z0-9_-]+")
DELETE_SECONDS = 10.0
Say = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Gemini:
    """How Gemini is reached and how patient to be; `models` are tried in their order.

    `attempts` of one call, with `backoff_s` seconds between the first two, doubled each time. `poll_s` between two
    looks at a file that is not ready, at most `active_s` in all. `request_s`: seconds for one answer.
    """

    key: str = field(repr=False)
    models: tuple[str, ...]
    url: str
    side_by_side: int = 3
    attempts: int = 4
    backoff_s: float = 2
    poll_s: float = 2
    active_s: float = 600
    request_s: float = 180

    def client(self) -> httpx.AsyncClient:
        """Return a client with the key in its header.

        Raises:
            RequestError: the key can't be one. The message does not hold it; the client's own would.
        """
        key = self.key.strip()
        if not key or re.search(r"[^!-~]", key):
            raise RequestError("The Gemini key holds a character that no key has. Copy it once more.")
        timeout = httpx.Timeout(self.request_s, connect=20)
        return httpx.AsyncClient(base_url=self.url, headers={"x-goog-api-key": key}, timeout=timeout)


@dataclass(frozen=True)
class Uploaded:
    """A file at Gemini: files/ID, and the address that a question names it by."""

    name: str
    uri: str
    state: str


class Conversation:
    """Talks to Gemini over one client, about several videos at a time."""

    def __init__(self, gemini: Gemini, client: httpx.AsyncClient, say: Say) -> None:
        self._gemini = gemini
        self._client = client
        self._say = say
        self._gone: set[str] = set()

    async def describe(self, clip: Clip) -> Said:
        """Return what Gemini says of the whole clip. Its copy there is deleted whatever happens.

        Raises:
            ClipFailedError: this video can't be described.
            RequestError: the key is not accepted.
            MachineError: Gemini can't be reached, or no model answers.
        """
        try:
            async with self._uploaded(clip) as file:
                await self._until_active(clip, file)
                return await self._ask_the_models(clip, file)
        except TryAgainError as problem:
            raise MachineError(
                f"Gemini did not take {clip.video.name}: {problem}. Try again later."
            ) from None

    @asynccontextmanager
    async def _uploaded(self, clip: Clip) -> AsyncIterator[Uploaded]:
        upload = asyncio.ensure_future(self._patiently(clip, partial(self._upload, clip)))
        try:
            file = await asyncio.shield(upload)
        except asyncio.CancelledError:
            # Its last piece may be there already, and only the answer tells the name to delete it by.
            with suppress(Exception):
                await self._delete(clip, await asyncio.wait_for(upload, DELETE_SECONDS))
            raise
        try:
            yield file
        finally:
            await self._delete(clip, file)

    async def _upload(self, clip: Clip) -> Uploaded:
        size = clip.size
        begun = await self._call(
            clip,
            "POST",
            "/upload/v1/files",
            headers={
                "X-Goog-Upload-Protocol": "resumable",
                "X-Goog-Upload-Command": "start",
                "X-Goog-Upload-Header-Content-Length": str(size),
                "X-Goog-Upload-Header-Content-Type": clip.mime,
            },
            json={"file": {"mime_type": clip.mime, "size_bytes": size}},
        )
        address = begun.headers.get("x-goog-upload-url", "")
        if not address:
            raise TryAgainError("it names no address for the upload")
        body: Any = None
        with clip.file.open("rb") as stream:
            for offset in range(0, max(size, 1), PIECE):
                last = offset + PIECE >= size
                sent = await self._send(clip, address, stream.read(PIECE), offset, last)
                if sent.headers.get("x-goog-upload-status") != ("final" if last else "active"):
                    raise TryAgainError("it did not take the upload")
                body = _json(sent)
        return _uploaded(body)

    async def _send(self, clip: Clip, address: str, piece: bytes, offset: int, last: bool) -> httpx.Response:
        request = self._client.build_request(
            "POST",
            address,
            headers={
                "X-Goog-Upload-Command": "upload, finalize" if last else "upload",
                "X-Goog-Upload-Offset": str(offset),
            },
            content=piece,
        )
        # The address itself is the permission, and it may be of another host.
        del request.headers["x-goog-api-key"]
        return self._checked(clip, await self._answer(request))

    async def _until_active(self, clip: Clip, file: Uploaded) -> None:
        looks = max(1, round(self._gemini.active_s / self._gemini.poll_s))
        for _ in range(looks):
            if file.state == "ACTIVE":
                return
            if file.state == "FAILED":
                raise ClipFailedError(clip.video, "can't be read by Gemini. Save it as MP4 (H.264)")
            await asyncio.sleep(self._gemini.poll_s)
            file = await self._patiently(clip, partial(self._look_at, clip, file))
        raise MachineError(
            f"Gemini was not ready with {clip.video.name} after {self._gemini.active_s / 60:.0f} minutes. "
            "Try again later."
        )

    async def _look_at(self, clip: Clip, file: Uploaded) -> Uploaded:
        return _uploaded(_json(await self._call(clip, "GET", f"/v1/{file.name}")))

    async def _ask_the_models(self, clip: Clip, file: Uploaded) -> Said:
        why: list[str] = []
        for model in self._gemini.models:
            name = model.removeprefix("models/")
            try:
                if name not in self._gone:
                    return await self._patiently(clip, partial(self._ask, clip, file, name))
            except NoSuchModelError:
                self._gone.add(name)
                self._say(f"Gemini has no model {name}")
            except TryAgainError as problem:
                why.append(f"{name}: {problem}")
            if name in self._gone:
                why.append(f"{name}: there is no such model")
        raise MachineError(
            f"No Gemini model described {clip.video.name} ({'; '.join(why)}). Try again later, or name other models "
            "with GEMINI_MODELS."
        )

    async def _ask(self, clip: Clip, file: Uploaded, model: str) -> Said:
        seen: dict[str, Any] = {"fileData": {"file_uri": file.uri, "mime_type": clip.mime}}
        if clip.fps is not None:
            seen["videoMetadata"] = {"fps": clip.fps}
        answer = await self._call(
            clip,
            "POST",
            f"/v1/models/{quote(model, safe='')}:generateContent",
            json={"contents": [{"role": "user", "parts": [seen, {"text": VIDEO}]}]},
        )
        return read_answer(_json(answer), clip.video)

    async def _delete(self, clip: Clip, file: Uploaded) -> None:
        try:
            request = self._client.build_request("DELETE", f"/v1/{file.name}", timeout=DELETE_SECONDS)
            done = (await self._answer(request)).is_success
        except TryAgainError:
            done = False
        if not done:
            self._say(
                f"The copy of {clip.video.name} at Gemini could not be deleted; it goes after 48 hours."
            )

    async def _call(self, clip: Clip, method: str, path: str, **what: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        response = await self._answer(self._client.build_request(method, path, **what))
        if response.status_code == 404 and path.endswith(":generateContent"):
            raise NoSuchModelError
        return self._checked(clip, response)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._client.send(request)
        except httpx.TransportError as problem:
            raise TryAgainError(f"it can't be reached ({type(problem).__name__})") from None

    def _checked(self, clip: Clip, response: httpx.Response) -> httpx.Response:
        if response.is_success:
            return response
        problem = problem_of(
            response.status_code, response.headers, _json(response), clip.video, self._gemini.key.strip()
        )
        raise problem

    async def _patiently(self, clip: Clip, call: Callable[[], Awaitable[T]]) -> T:
        """Return what a call gives, after as many attempts as it takes.

        Raises:
            TryAgainError: none of them went well.
        """
        attempt = 1
        while True:
            try:
                return await call()
            except TryAgainError as problem:
                if attempt >= self._gemini.attempts:
                    raise
                self._say(f"Gemini, {clip.video.name}: {problem}; trying again")
                wait = max(problem.after_s, self._gemini.backoff_s * 2 ** (attempt - 1))
            await asyncio.sleep(min(wait, LONGEST_WAIT_S))
            attempt += 1


def _json(response: httpx.Response) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return response.json()
    except ValueError:
        return None


def _uploaded(body: Any) -> Uploaded:  # noqa: ANN401 - any JSON value
    """Return the file that an answer tells of: the upload's says {"file": {...}}, a look's the file itself."""
    file = body.get("file", body) if isinstance(body, dict) else None
    name = str(file.get("name", "")) if isinstance(file, dict) else ""
    if not isinstance(file, dict) or not FILE_NAME.fullmatch(name):
        raise TryAgainError("it does not say what became of the upload")
    return Uploaded(name, str(file.get("uri", "")), str(file.get("state", "PROCESSING")))
