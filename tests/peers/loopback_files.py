"""A web server on 127.0.0.1 for files, as a person's own server would be: ranges, redirects, faults on demand.

files.add("/photos.zip", content)
files.redirect("/old", "http://127.0.0.1:1/new")
files.fail("cut", times=1)        # the body ends half-way
files.fail("503", times=2)        # or any status
files.ranges = False              # the server sends all of it, whatever it is asked for
"""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

PIECE = 64 * 1024


class LoopbackFiles:
    """The server. `seen` holds (path, Range header), `bytes_per_second` slows bodies down (0: not at all)."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.redirects: dict[str, str] = {}
        self.seen: list[tuple[str, str | None]] = []
        self.sent = 0
        self.ranges = True
        self.length = True
        self.bytes_per_second = 0
        self._faults: list[str] = []
        owner = self

        class Handler(_Handler):
            files = owner

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def add(self, path: str, content: bytes, **headers: str) -> str:
        """Put a file on the server and return its address."""
        self.files[path] = (content, {name.replace("_", "-"): value for name, value in headers.items()})
        return f"{self.url}{path}"

    def redirect(self, path: str, to: str) -> str:
        self.redirects[path] = to
        return f"{self.url}{path}"

    def fail(self, kind: str, times: int = 1) -> None:
        self._faults += [kind] * times

    def fault(self) -> str | None:
        return self._faults.pop(0) if self._faults else None


@contextmanager
def running_files() -> Iterator[LoopbackFiles]:
    """Yield a server that listens until the block ends."""
    files = LoopbackFiles()
    thread = threading.Thread(target=files.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield files
    finally:
        files.server.shutdown()
        files.server.server_close()
        thread.join(timeout=5)


class _Handler(BaseHTTPRequestHandler):
    files: LoopbackFiles
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        wanted = self.headers.get("Range")
        self.files.seen.append((path, wanted))
        fault = self.files.fault()
        if fault is not None and fault.isdigit():
            self._head(int(fault), 0)
        elif path in self.files.redirects:
            self._head(302, 0, Location=self.files.redirects[path])
        elif path not in self.files.files:
            self._head(404, 0)
        else:
            self._send(*self.files.files[path], wanted, fault)

    def _send(self, content: bytes, headers: dict[str, str], wanted: str | None, fault: str | None) -> None:
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        fresh = self.headers.get("If-Range") in (None, etag)
        start = 0
        if wanted and self.files.ranges and fresh:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            if start >= len(content):
                self._head(416, 0, **{"Content-Range": f"bytes */{len(content)}"})
                return
        more = {"ETag": etag} | headers
        if start:
            more["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._head(206 if start else 200, len(content) - start if self.files.length else None, **more)
        body = content[start:]
        stop = len(body) // 2 if fault == "cut" else len(body)
        try:
            for at in range(0, stop, PIECE):
                piece = body[at : min(at + PIECE, stop)]
                self.wfile.write(piece)
                self.files.sent += len(piece)
                if self.files.bytes_per_second:
                    time.sleep(len(piece) / self.files.bytes_per_second)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        if fault == "cut" or not self.files.length:
            self.close_connection = True

    def _head(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
