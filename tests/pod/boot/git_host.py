"""A git host beside a box's boot that has no repository: a clone from it fails for good, and when a test says so."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pod.boot.box import Box

HOLD_SECONDS = 120.0
"""The longest that a clone is kept waiting, in case the test forgets it."""


@dataclass
class EmptyGitHost:
    """Whoever clones `url` waits until `answer` was called, and then hears that there is no such repository."""

    url: str = ""
    told: threading.Event = field(default_factory=threading.Event)

    def answer(self) -> None:
        self.told.set()


@contextlib.contextmanager
def empty_git_host(box: Box) -> Iterator[EmptyGitHost]:
    """Serve on the loopback of a box's network."""
    host = EmptyGitHost()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.told.wait(HOLD_SECONDS)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Keep the tests' output free of it."""

    server = box.inside(lambda: ThreadingHTTPServer(("127.0.0.1", 0), Handler))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    host.url = f"http://127.0.0.1:{server.server_address[1]}/musubi-tuner.git"
    try:
        yield host
    finally:
        host.answer()
        server.shutdown()
        thread.join(10)
        server.server_close()
