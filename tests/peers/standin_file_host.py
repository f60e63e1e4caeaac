"""A stand-in for public file hosts: litterbox, transfer.sh and file.io, as their clients see them.

    host.url + "/litterbox"      POST multipart: reqtype, time, fileToUpload -> an address as text
    host.url + "/transfer"       PUT /transfer/NAME with Max-Days -> an address as text
    host.url + "/fileio"         POST multipart: expires, file -> JSON {"success", "link"}
    host.fail("503", times=2)    # or any status, or "cut", or "page" (a web page in place of an address)

It is none of them: their pages, limits and deletions are not here. `kept` holds (file name, content) by address.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PUBLIC = "https://files.example"


class StandInFileHost:
    """The host. `fields` holds what came beside each file."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[str, bytes]] = {}
        self.fields: list[dict[str, str]] = []
        self.asked: list[str] = []
        self._faults: list[str] = []
        owner = self

        class Handler(_Handler):
            host = owner

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def fail(self, kind: str, times: int = 1) -> None:
        self._faults += [kind] * times

    def fault(self) -> str | None:
        return self._faults.pop(0) if self._faults else None

    def keep(self, name: str, content: bytes, fields: dict[str, str]) -> str:
        link = f"{PUBLIC}/{len(self.kept)}/{name}"
        self.kept[link] = (name, content)
        self.fields.append(fields)
        return link


@contextmanager
def running_file_host() -> Iterator[StandInFileHost]:
    """Yield a host that listens until the block ends."""
    host = StandInFileHost()
    thread = threading.Thread(target=host.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        host.server.shutdown()
        host.server.server_close()
        thread.join(timeout=5)


class _Handler(BaseHTTPRequestHandler):
    host: StandInFileHost
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def do_PUT(self) -> None:
        content = self._body()
        if content is not None:
            name = self.path.rpartition("/")[2]
            fields = {"Max-Days": self.headers.get("Max-Days", ""), "type": self.headers["Content-Type"]}
            self._answer(200, self.host.keep(name, content, fields) + "\n")

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            return
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        fields, files = {}, []
        for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
            name = str(part.get_param("name", header="content-disposition"))
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            if part.get_filename():
                files.append((name, str(part.get_filename()), content))
            else:
                fields[name] = content.decode()
        wanted = "fileToUpload" if self.path.startswith("/litterbox") else "file"
        if [name for name, _, _ in files] != [wanted]:
            self._answer(400, "no file")
            return
        link = self.host.keep(files[0][1], files[0][2], fields)
        if self.path.startswith("/fileio"):
            self._answer(200, json.dumps({"success": True, "link": link}))
        else:
            self._answer(200, link)

    def _body(self) -> bytes | None:
        """Return the body; None where a fault is answered."""
        self.host.asked.append(self.path)
        fault = self.host.fault()
        if fault == "cut":
            self.close_connection = True
            self.connection.close()
            return None
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if fault == "page":
            self._answer(200, "<html>busy</html>")
        elif fault is not None:
            self._answer(int(fault), "on demand")
        return body if fault is None else None

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
