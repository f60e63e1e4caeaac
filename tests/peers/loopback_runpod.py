"""Stand-ins for Runpod: its REST interface on 127.0.0.1, and a `runpodctl` on PATH.

The REST stand-in speaks the pods' part of rest.runpod.io/v1 to the real client and checks the bearer key. It
ends no pod: it notes what was asked.

    runpod.fail(500, times=3)       # the next three requests are answered 500 (or 401, 403, 404, 429)
    runpod.delay_s = 60             # every answer takes that long
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY = "rpa_MARKEDKEY0123456789abcdef"
POD = "pod1marked2"


class LoopbackRunpod:
    """The REST stand-in. `asked` holds (method, path) of every request with the right key, in order."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.refused = 0
        self.delay_s = 0.0
        self.over = threading.Event()
        self.facts: dict[str, Any] = {
            "id": POD,
            "desiredStatus": "RUNNING",
            "costPerHr": "0.74",
            "adjustedCostPerHr": 0.69,
            "lastStartedAt": "2024-07-12T19:14:40.144Z",
            "volumeInGb": 20,
            "containerDiskInGb": 50,
            "env": {"HF_TOKEN": "hf_secretofthepod12345"},
        }
        self._failures: list[int] = []
        stand_in = self

        class Handler(_Handler):
            owner = stand_in

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def fail(self, status: int, times: int = 1_000) -> None:
        """Answer the next requests with that status."""
        self._failures = [status] * times

    def next_failure(self) -> int | None:
        return self._failures.pop(0) if self._failures else None

    @property
    def stops(self) -> list[tuple[str, str]]:
        """The requests that would end the pod."""
        return [(method, path) for method, path in self.asked if method != "GET"]


class _Handler(BaseHTTPRequestHandler):
    owner: LoopbackRunpod
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, self.owner.facts, (f"/pods/{POD}",))

    def do_POST(self) -> None:
        self._answer(200, self.owner.facts | {"desiredStatus": "EXITED"}, (f"/pods/{POD}/stop",))

    def do_DELETE(self) -> None:
        self._answer(204, None, (f"/pods/{POD}",))

    def _answer(self, status: int, body: Any, known: tuple[str, ...]) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            self.owner.refused += 1
            status, body = 401, {"error": "unauthorized"}
        else:
            self.owner.asked.append((self.command, path))
            failure = self.owner.next_failure()
            if failure is not None:
                status, body = failure, {"error": f"refused {self.headers['Authorization']}"}
            elif path not in known:
                status, body = 404, {"error": "pod not found"}
        self.owner.over.wait(self.owner.delay_s)
        self._send(status, b"" if body is None else json.dumps(body).encode())

    def _send(self, status: int, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            return  # the client did not wait

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def running_runpod() -> Iterator[LoopbackRunpod]:
    """Yield the REST stand-in, listening until the block ends."""
    runpod = LoopbackRunpod()
    thread = threading.Thread(target=runpod.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield runpod
    finally:
        runpod.over.set()
        runpod.server.shutdown()
        runpod.server.server_close()
        thread.join(timeout=5)


# What each stand-in of runpodctl does, as the versions do it: 2 prints the whole pod, its environment among
# it; 1 knows only the old words, and calls an unfinished stop failed while it ends with 0.
NEW = """
case "$1 $2" in
"pod stop" | "pod delete")
    echo '{"id": "x", "env": {"HF_TOKEN": "hf_secretofthepod12345"}}'
    exit 0 ;;
esac
exit 1
"""
OLD = """
case "$1 $2" in
"stop pod") echo "pod \\"$3\\" stopped" ;;
"remove pod") echo "pod \\"$3\\" removed" ;;
*)
    echo "Error: unknown command \\"$1\\" for \\"runpodctl\\"" >&2
    exit 1 ;;
esac
"""
HALF_FAILING = """
case "$1" in pod) echo '{"error":"unknown command"}' >&2; exit 1 ;; esac
echo "pod \\"$3\\" stop failed; status is RUNNING"
"""
FAILING = """
url="https://api.runpod.io/graphql?api_key=$RUNPOD_API_KEY"
echo "{\\"error\\":\\"api error: Post $url: x509: certificate signed by unknown authority\\"}" >&2
exit 1
"""
KINDS = {"new": NEW, "old": OLD, "half-failing": HALF_FAILING, "failing": FAILING, "slow": "sleep 30"}


def stand_in_runpodctl(folder: Path, kind: str) -> Path:
    """Write a stand-in of runpodctl into the folder; return the file that notes how it was called, a line each."""
    folder.mkdir(parents=True, exist_ok=True)
    calls = folder / "runpodctl.calls"
    program = folder / "runpodctl"
    program.write_text(f'#!/bin/sh\necho "$*" >> "{calls}"\n{KINDS[kind]}\n', encoding="utf-8")
    program.chmod(0o755)
    return calls
