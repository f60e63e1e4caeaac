"""A reverse proxy as a pod has one in front: it strips a path prefix and ends every request after some seconds."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from select import select

PREFIX = "/user/abc/proxy"
HEAD_BYTES = 65_536


@dataclass
class CuttingProxy:
    """A proxy that listens. `asked` holds a row a request: (path, its Last-Event-ID or "")."""

    port: int
    target: int
    cut_s: float
    asked: list[tuple[str, str]] = field(default_factory=list)
    cuts: int = 0
    open: bool = True
    born: float = 0.0
    """Requests that came before this moment (of the monotonic clock) are cut off."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}{PREFIX}/"

    def cut_all(self) -> None:
        """Cut off what is under way."""
        self.born = time.monotonic()

    def reconnections(self) -> list[str]:
        """Return the Last-Event-IDs that streams were asked for with."""
        return [last for path, last in self.asked if path.startswith("/live") and last]


@contextmanager
def cutting_proxy(target: int, cut_s: float) -> Iterator[CuttingProxy]:
    """Listen on a free port of this machine in front of `target`, another one."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        proxy = CuttingProxy(listening.getsockname()[1], target, cut_s)
        accepting = threading.Thread(target=_accept, args=(proxy, listening))
        accepting.start()
        try:
            yield proxy
        finally:
            proxy.open = False
            accepting.join(10)


def _accept(proxy: CuttingProxy, listening: socket.socket) -> None:
    handlers = []
    while proxy.open:
        with suppress(TimeoutError):
            browser, _ = listening.accept()
            handlers.append(threading.Thread(target=_handle, args=(proxy, browser), daemon=True))
            handlers[-1].start()
    for handler in handlers:
        handler.join(5)


def _handle(proxy: CuttingProxy, browser: socket.socket) -> None:
    with browser, suppress(OSError, ValueError):
        browser.settimeout(10)
        head, rest = _head(browser)
        method, path, version = head[0].split(" ")
        if not path.startswith(f"{PREFIX}/"):
            browser.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        path = path.removeprefix(PREFIX)
        lines = [line for line in head[1:] if not line.lower().startswith("connection:")]
        last = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("last-event-id:")]
        proxy.asked.append((path, "".join(last)))
        with socket.create_connection(("127.0.0.1", proxy.target), 10) as server:
            sent = "\r\n".join([f"{method} {path} {version}", *lines, "Connection: close", "", ""])
            server.sendall(sent.encode("latin-1") + rest)
            _pump(proxy, browser, server)


def _head(browser: socket.socket) -> tuple[list[str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data and len(data) < HEAD_BYTES:
        data += browser.recv(HEAD_BYTES) or b"\r\n\r\n"
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n"), rest


def _pump(proxy: CuttingProxy, browser: socket.socket, server: socket.socket) -> None:
    begun = time.monotonic()
    while proxy.open:
        if time.monotonic() > begun + proxy.cut_s or begun < proxy.born:
            proxy.cuts += 1
            return
        for ready in select([browser, server], [], [], 0.1)[0]:
            data = ready.recv(HEAD_BYTES)
            if not data:
                return
            (server if ready is browser else browser).sendall(data)
