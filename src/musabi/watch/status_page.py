"""The pod's status in a browser: `python -m musabi.watch.status_page --socket PATH` (or `--port N`).

A small server behind jupyter-server-proxy. It reads the pod's files when somebody asks and never otherwise.
`/` is the page, `/run` one run alone (a notebook shows it in its output), `/status.json` the values with the
page's parts as HTML, `/health` says that the server is up. `?id=RUN` names the run, the newest one without.
Every link is relative, so that the page works behind any prefix.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import socketserver
import sys
import threading
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from musabi.children import scrub, secrets
from musabi.errors import ExitCode, RequestError
from musabi.pod.state_dir import found_places
from musabi.settings import load
from musabi.watch import status_html
from musabi.watch.status import Status
from musabi.watch.status_words import clock

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
HTML, CSS, JAVASCRIPT, JSON = (
    f"{kind}; charset=utf-8" for kind in ("text/html", "text/css", "text/javascript", "application/json")
)


class StatusServer(ThreadingHTTPServer):
    """Serves the status of one pod; one look at a time, however many ask."""

    daemon_threads = True

    def __init__(
        self,
        address: Any,  # noqa: ANN401 - (host, port), or a socket's path
        status: Status,
        hidden: tuple[str, ...] = (),
        family: int = socket.AF_INET,
    ) -> None:
        self.address_family = family
        self.hidden = hidden
        self._status = status
        self._lock = threading.Lock()
        super().__init__(address, StatusHandler)

    def server_bind(self) -> None:
        """Bind without looking the machine's name up, which a unix socket has none of."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "status", 0

    def look(self, run: str) -> dict[str, Any]:
        with self._lock:
            return self._status.look(run=run)


class StatusHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD of the pages above."""

    server: StatusServer
    server_version = "musabi"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer with the page of that path."""
        path, _, query = self.path.partition("?")
        try:
            status, kind, text = self._answer(path, parse_qs(query).get("id", [""])[0])
        except Exception as error:
            # The page must tell that it can't look, whatever a file held.
            status, kind = HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8"
            text = f"The status can't be read: {type(error).__name__}.\n"
            print(f"status page: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        body = scrub(text, self.server.hidden).encode("utf-8", errors="replace")
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def _answer(self, path: str, run: str) -> tuple[HTTPStatus, str, str]:
        match path:
            case "/" | "/index.html":
                return HTTPStatus.OK, HTML, status_html.page(self.server.look(run))
            case "/run":
                return HTTPStatus.OK, HTML, status_html.page(self.server.look(run), ("run",))
            case "/status.json":
                return HTTPStatus.OK, JSON, json.dumps(as_json(self.server.look(run)), ensure_ascii=False)
            case "/status.css":
                return HTTPStatus.OK, CSS, status_html.asset("status.css")
            case "/status.js":
                return HTTPStatus.OK, JAVASCRIPT, status_html.asset("status.js")
            case "/health":
                return HTTPStatus.OK, JSON, '{"status": "ok"}\n'
        return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", "There is no such page.\n"

    def address_string(self) -> str:
        return "local"

    def log_message(self, *_: Any) -> None:  # noqa: ANN401 - the base class's signature
        """Say nothing: a page that asks every two seconds would fill the log."""


def as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with the page's parts and the time in words, as the page's script reads them."""
    return {**values, "clock": clock(values["now"]), "html": status_html.parts(values)}


def serve(server: StatusServer) -> None:
    """Answer until SIGTERM or Ctrl-C, asleep in between."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(int(ExitCode.DONE)))
    server.serve_forever(poll_interval=3600)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve on a unix socket or a port and return the exit code."""
    parser = argparse.ArgumentParser(prog="musabi.watch.status_page", description="The pod's status page.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=Path, help="unix socket to listen on")
    where.add_argument("--port", type=int, help="port to listen on")
    parser.add_argument("--host", default="127.0.0.1", help="address of the port")
    given = parser.parse_args(arguments)
    try:
        server = _server(given.socket, given.host, given.port)
    except OSError as problem:
        print(f"Error: The status page can't listen there ({problem.strerror}).", file=sys.stderr)
        return int(ExitCode.MACHINE_CANNOT)
    try:
        with server:
            serve(server)
    finally:
        if given.socket:
            given.socket.unlink(missing_ok=True)
    return int(ExitCode.DONE)


def _server(path: Path | None, host: str, port: int | None) -> StatusServer:
    status, hidden = status_of(os.environ), secrets(os.environ)
    if path is None:
        return StatusServer((host, port), status, hidden)
    path.unlink(missing_ok=True)  # what a killed server left behind
    return StatusServer(str(path), status, hidden, socket.AF_UNIX)


def status_of(environ: Mapping[str, str]) -> Status:
    """Return the status of the pod that the environment describes, even where a variable in it is wrong."""
    try:
        return Status(load(environ), found_places(environ))
    except RequestError as problem:
        known = {name: environ[name] for name in ("WORKSPACE", "MUSABI_STATE_DIR") if environ.get(name)}
        return Status(load(known), found_places(environ), str(problem))


if __name__ == "__main__":
    sys.exit(main())
