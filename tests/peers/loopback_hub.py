"""A hub on 127.0.0.1 that speaks the download protocol to the real client, with faults on demand.

It serves repos given as {path: bytes}; `*.safetensors` are LFS files, the rest are ordinary ones. A fault
applies to the requests whose method and path it names, a number of times:

    hub.fail("cut", path="ae.safetensors", times=1)     # the body ends half-way
    hub.fail("stall", path="ae.safetensors")            # headers and half the body, then silence
    hub.fail("wrong", path="ae.safetensors", times=2)   # as many bytes, but others
    hub.fail("429", method="GET", path="/api/models")   # or 500, 503, 401, 404
    hub.fail("gated", path="/resolve/")                 # 403 with X-Error-Code: GatedRepo
"""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

STALL_SECONDS = 60
PIECE = 64 * 1024


@dataclass
class Fault:
    kind: str
    method: str
    path: str
    times: int


@dataclass
class Seen:
    """One request, as it came in."""

    method: str
    path: str
    authorization: str | None
    range: str | None
    time: float


@dataclass
class Repo:
    files: dict[str, bytes]
    claimed: dict[str, int] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        digest = hashlib.sha1(usedforsecurity=False)
        for path, content in sorted(self.files.items()):
            digest.update(path.encode() + b"\0" + content)
        return digest.hexdigest()


class LoopbackHub:
    """The hub. `seen` holds every request, `bytes_per_second` slows bodies down (0: as fast as it goes)."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.seen: list[Seen] = []
        self.bytes_per_second = 0
        self.over = threading.Event()
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        hub = self

        class Handler(_Handler):
            owner = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def add(self, repo: str, files: dict[str, bytes]) -> Repo:
        """Put a repo (or more files of one) on the hub."""
        known = self.repos.setdefault(repo, Repo({}))
        known.files.update(files)
        return known

    def claim_size(self, repo: str, path: str, size: int) -> None:
        """Let the listing say another size for a file than it has."""
        self.repos[repo].claimed[path] = size

    def fail(self, kind: str, path: str = "", method: str = "GET", times: int = 1_000_000) -> None:
        """Make the next `times` requests fail whose method is `method` and whose path holds `path`."""
        with self._lock:
            self._faults.append(Fault(kind, method, path, times))

    def heal(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def fault_for(self, method: str, path: str) -> str | None:
        with self._lock:
            for fault in self._faults:
                if fault.times > 0 and fault.method == method and fault.path in path:
                    fault.times -= 1
                    return fault.kind
        return None

    def bodies(self, path: str) -> list[Seen]:
        """Return the requests for the content of files whose path holds `path`."""
        return [
            seen
            for seen in self.seen
            if seen.method == "GET" and "/resolve/" in seen.path and path in seen.path
        ]


AnyHub = TypeVar("AnyHub", bound=LoopbackHub)


@contextmanager
def running_hub() -> Iterator[LoopbackHub]:
    """Yield a hub that listens until the block ends."""
    with running(LoopbackHub()) as hub:
        yield hub


@contextmanager
def running(hub: AnyHub) -> Iterator[AnyHub]:
    """Let a hub listen until the block ends."""
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.over.set()
        hub.server.shutdown()
        hub.server.server_close()
        thread.join(timeout=5)


def is_lfs(path: str) -> bool:
    return path.endswith(".safetensors")


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def sibling(path: str, content: bytes, size: int) -> dict[str, Any]:
    """Describe a file as `?blobs=true` does."""
    about: dict[str, Any] = {"rfilename": path, "size": size, "blobId": git_blob(content)}
    if is_lfs(path):
        about["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 134}
    return about


def tree_entry(path: str, content: bytes, size: int) -> dict[str, Any]:
    """Describe a file as the tree listing does."""
    about: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": git_blob(content)}
    if is_lfs(path):
        about["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 134}
    return about


class _Handler(BaseHTTPRequestHandler):
    owner: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def _answer(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        self.owner.seen.append(
            Seen(method, path, self.headers.get("Authorization"), self.headers.get("Range"), time.monotonic())
        )
        fault = self.owner.fault_for(method, path)
        if fault == "gated":
            self._refuse(403, "GatedRepo", "Access to this model is restricted.")
        elif fault is not None and fault.isdigit():
            self._refuse(int(fault), "RepoNotFound" if fault == "404" else None, "on demand")
        elif path.startswith("/api/"):
            self._api(path)
        elif "/resolve/" in path:
            self._resolve(method, path, fault)
        else:
            self._refuse(404, None, "no such page")

    def _api(self, path: str) -> None:
        if path == "/api/whoami-v2":
            self._json(
                {"name": "tester", "type": "user", "orgs": [], "auth": {"accessToken": {"role": "read"}}}
            )
            return
        owner, name, *rest = (*path.split("/")[3:], "", "")
        repo = self.owner.repos.get(f"{owner}/{name}")
        if repo is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif rest[:1] == ["tree"]:
            self._json([tree_entry(p, c, repo.claimed.get(p, len(c))) for p, c in repo.files.items()])
        elif rest[:1] == ["revision"] and rest[1] not in ("main", repo.commit):
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
        else:
            self._json(
                {
                    "id": f"{owner}/{name}",
                    "modelId": f"{owner}/{name}",
                    "sha": repo.commit,
                    "private": False,
                    "tags": [],
                    "siblings": [sibling(p, c, repo.claimed.get(p, len(c))) for p, c in repo.files.items()],
                }
            )

    def _resolve(self, method: str, path: str, fault: str | None) -> None:
        head, _, rest = path.partition("/resolve/")
        repo = self.owner.repos.get(head.strip("/").removeprefix("datasets/"))
        revision, _, name = rest.partition("/")
        if repo is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
            return
        if revision not in ("main", repo.commit):
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
            return
        if name not in repo.files:
            self._refuse(404, "EntryNotFound", "Entry not found", repo.commit)
            return
        content = repo.files[name]
        start = self._start(len(content))
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", repo.commit)
        self.send_header("Accept-Ranges", "bytes")
        if is_lfs(name):
            digest = hashlib.sha256(content).hexdigest()
            self.send_header("X-Linked-Etag", f'"{digest}"')
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("ETag", f'"{digest}"')
        else:
            self.send_header("ETag", f'"{git_blob(content)}"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if method == "GET":
            self._body(content[start:], fault)

    def _start(self, size: int) -> int:
        wanted = self.headers.get("Range", "")
        start = wanted.removeprefix("bytes=").partition("-")[0]
        return min(int(start), size) if start.isdigit() else 0

    def _body(self, content: bytes, fault: str | None) -> None:
        if fault == "wrong":
            content = bytes(255 - byte for byte in content)
        stop = len(content) // 2 if fault in ("cut", "stall") else len(content)
        try:
            for at in range(0, stop, PIECE):
                piece = content[at : min(at + PIECE, stop)]
                self.wfile.write(piece)
                if self.owner.bytes_per_second:
                    time.sleep(len(piece) / self.owner.bytes_per_second)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
            return
        if fault == "stall":
            self.owner.over.wait(STALL_SECONDS)
        if fault in ("cut", "stall"):
            self.close_connection = True
            self.connection.close()

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, code: str | None, message: str, commit: str | None = None) -> None:
        body = json.dumps({"error": message}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
