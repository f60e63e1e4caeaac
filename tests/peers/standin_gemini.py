"""A stand-in for the Gemini API on 127.0.0.1: the five calls that a caption takes, as strictly as the real one.

It is no model. It keeps to https://ai.google.dev/api/files (resumable upload) and .../api/generate-content: headers,
offsets and pieces of an upload, a file that is PROCESSING before it is ACTIVE, errors in Google's shape.

gemini.answer = lambda content: said("A red square.")     # or blocked("SAFETY"), or any JSON value
gemini.fail("generate", 429, times=2, retryDelay="1s")     # start, send, look, generate or delete
gemini.models = {"gemini-3.6-flash"}                       # any other is 404
gemini.processing = 3                                      # so many looks until a file is ACTIVE (or FAILED)
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "AIza-standin-0123456789abcdef"
PIECE = 8 * 1024**2
CALLS = (
    ("start", "POST", re.compile(r"/upload/v1/files")),
    ("send", "POST", re.compile(r"/upload/v1/files\?upload_id=(?P<id>\w+)&upload_protocol=resumable")),
    ("look", "GET", re.compile(r"/v1/files/(?P<id>\w+)")),
    ("generate", "POST", re.compile(r"/v1/models/(?P<id>[\w.-]+):generateContent")),
    ("delete", "DELETE", re.compile(r"/v1/files/(?P<id>\w+)")),
)


def said(text: str, finish: str = "STOP", thought: str = "") -> dict[str, Any]:
    """Return an answer with this text."""
    parts: list[dict[str, Any]] = [{"text": thought, "thought": True}] if thought else []
    content = {"parts": [*parts, {"text": text}], "role": "model"}
    return {"candidates": [{"content": content, "finishReason": finish, "index": 0}]}


def blocked(reason: str) -> dict[str, Any]:
    """Return the answer to a question that was blocked: there are no candidates."""
    return {"promptFeedback": {"blockReason": reason}}


@dataclass
class Stored:
    """A file at Gemini; `content` grows while it is uploaded."""

    mime: str
    size: int
    content: bytes = b""
    looks: int = 0
    whole: bool = False


@dataclass
class StandinGemini:
    """What it knows and what it was asked. `most_at_once` is how many uploads were open side by side."""

    url: str = ""
    models: set[str] = field(default_factory=lambda: {"gemini-3.8-flash"})
    answer: Callable[[bytes], dict[str, Any]] = lambda _content: said("A grey square that grows brighter.")
    processing: int = 1
    broken: bool = False
    slow_s: float = 0
    quick: int = 0
    """So many questions are answered at once, and slow_s holds from then on."""
    slow_to_confirm_s: float = 0
    files: dict[str, Stored] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    keys: dict[str, set[str | None]] = field(default_factory=dict)
    open: int = 0
    most_at_once: int = 0
    faults: dict[str, list[tuple[int, dict[str, Any], dict[str, str]]]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def fail(
        self, call: str, status: int, message: str = "no", *, times: int = 1, after: str = "", **details: str
    ) -> None:
        """Answer a call with an error, so many times; `after` is a Retry-After header."""
        body = {"error": {"code": status, "message": message, "status": "X", "details": [details]}}
        headers = {"Retry-After": after} if after else {}
        self.faults.setdefault(call, []).extend([(status, body, headers)] * times)

    @property
    def kept(self) -> list[str]:
        """The files that were not deleted."""
        return [name for name in self.files if name not in self.deleted]


@contextmanager
def running_gemini() -> Iterator[StandinGemini]:
    """Yield a server that listens until the block ends."""
    state = StandinGemini()

    class Handler(_Handler):
        gemini = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


class _Wrong(Exception):  # noqa: N818 - an answer
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    gemini: StandinGemini
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def do_POST(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = next(
            (
                (name, match)
                for name, method, path in CALLS
                if method == self.command and (match := path.fullmatch(self.path))
            ),
            None,
        )
        if found is None:
            return self._reply(404, _error(404, f"no such call {self.command} {self.path}"))
        name, match = found
        with self.gemini.lock:
            self.gemini.calls[name] += 1
            self.gemini.paths.append(self.path)
            self.gemini.keys.setdefault(name, set()).add(self.headers.get("x-goog-api-key"))
            fault = self.gemini.faults.get(name)
            if fault:
                status, said_, headers = fault.pop(0)
                return self._reply(status, said_, headers)
        try:
            if name != "send" and self.headers.get("x-goog-api-key") != KEY:
                raise _Wrong(400, "API key not valid. Please pass a valid API key.")
            if name == "generate" and self.gemini.calls[name] > self.gemini.quick:
                time.sleep(self.gemini.slow_s)
            with self.gemini.lock:
                headers, answer = getattr(self, f"_{name}")(body, **match.groupdict())
        except _Wrong as wrong:
            return self._reply(wrong.status, _error(wrong.status, str(wrong)))
        if headers.get("X-Goog-Upload-Status") == "final":
            time.sleep(self.gemini.slow_to_confirm_s)
        return self._reply(200, answer, headers)

    def _start(self, body: bytes) -> tuple[dict[str, str], Any]:
        told = json.loads(body)["file"]
        size, mime = int(told["size_bytes"]), told["mime_type"]
        self._require("X-Goog-Upload-Protocol", "resumable")
        self._require("X-Goog-Upload-Command", "start")
        self._require("X-Goog-Upload-Header-Content-Length", str(size))
        self._require("X-Goog-Upload-Header-Content-Type", mime)
        if mime == "video/x-matroska":
            raise _Wrong(400, "Unsupported MIME type: video/x-matroska")
        name = f"f{len(self.gemini.files)}"
        self.gemini.files[name] = Stored(mime, size)
        self.gemini.open += 1
        self.gemini.most_at_once = max(self.gemini.most_at_once, self.gemini.open)
        address = f"{self.gemini.url}/upload/v1/files?upload_id={name}&upload_protocol=resumable"
        return {"X-Goog-Upload-URL": address, "X-Goog-Upload-Status": "active"}, {}

    def _send(self, body: bytes, id: str) -> tuple[dict[str, str], Any]:  # noqa: A002 - the path's name
        file = self.gemini.files[id]
        self._require("X-Goog-Upload-Offset", str(len(file.content)))
        last = len(file.content) + len(body) == file.size
        self._require("X-Goog-Upload-Command", "upload, finalize" if last else "upload")
        if file.whole or len(file.content) + len(body) > file.size or (not last and len(body) != PIECE):
            raise _Wrong(400, "Bytes out of place.")
        file.content += body
        file.whole = last
        answer = {"file": self._about(id, "PROCESSING")} if last else {}
        return {"X-Goog-Upload-Status": "final" if last else "active"}, answer

    def _look(self, _body: bytes, id: str) -> tuple[dict[str, str], Any]:  # noqa: A002 - the path's name
        file = self._file(id)
        file.looks += 1
        return {}, self._about(id, self._state(file))

    def _generate(self, body: bytes, id: str) -> tuple[dict[str, str], Any]:  # noqa: A002 - the path's name
        if id not in self.gemini.models:
            raise _Wrong(404, f"models/{id} is not found for API version v1")
        asked = json.loads(body)
        self.gemini.asked.append((id, asked))
        seen, text = asked["contents"][0]["parts"]
        name = seen["fileData"]["file_uri"].removeprefix(f"{self.gemini.url}/v1/files/")
        file = self._file(name)
        if self._state(file) != "ACTIVE" or seen["fileData"]["mime_type"] != file.mime:
            raise _Wrong(400, f"The File {name} is not in an ACTIVE state and usage is not allowed.")
        if not text["text"] or not 0 < seen.get("videoMetadata", {}).get("fps", 1) <= 24:
            raise _Wrong(400, "Invalid question.")
        return {}, self.gemini.answer(file.content)

    def _delete(self, _body: bytes, id: str) -> tuple[dict[str, str], Any]:  # noqa: A002 - the path's name
        self._file(id)
        self.gemini.deleted.append(id)
        self.gemini.open -= 1
        return {}, {}

    def _file(self, name: str) -> Stored:
        file = self.gemini.files.get(name)
        if file is None or not file.whole or name in self.gemini.deleted:
            raise _Wrong(403, f"You do not have permission to access the File {name} or it may not exist.")
        return file

    def _state(self, file: Stored) -> str:
        ready = file.looks >= self.gemini.processing
        right = file.mime != "video/mp4" or file.content[4:8] == b"ftyp"
        return ("ACTIVE" if right and not self.gemini.broken else "FAILED") if ready else "PROCESSING"

    def _about(self, name: str, state: str) -> dict[str, Any]:
        file = self.gemini.files[name]
        uri = f"{self.gemini.url}/v1/files/{name}"
        size = str(file.size)
        return {"name": f"files/{name}", "mimeType": file.mime, "sizeBytes": size, "uri": uri, "state": state}

    def _require(self, header: str, value: str) -> None:
        if self.headers.get(header) != value:
            raise _Wrong(400, f"{header} is {self.headers.get(header)}, not {value}")

    def _reply(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _error(status: int, message: str) -> dict[str, Any]:
    reason = [{"reason": "API_KEY_INVALID"}] if "API key" in message else []
    return {"error": {"code": status, "message": message, "status": "X", "details": reason}}
