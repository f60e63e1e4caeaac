"""A network of one host: nothing but its own loopback. Tests reach into it without a process there."""

import contextlib
import ctypes
import http.client
import os
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

CLONE_NEWNET = 0x40000000
Made = TypeVar("Made")


class Network:
    """A network namespace with a name, which outlives the processes in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns") / name

    def run(self, make: Callable[[], Made]) -> Made:
        """Call `make` in a thread that stands in this network, and return what it made.

        A socket belongs to the network it was made in: a server whose socket is bound here serves here.
        """
        made: list[Made] = []
        failed: list[BaseException] = []

        def inside() -> None:
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if libc.setns(handle, CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                finally:
                    os.close(handle)
                made.append(make())
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=inside, daemon=True)
        thread.start()
        thread.join(timeout=60)
        if failed:
            raise failed[0]
        return made[0]

    def connect(self, port: int, limit_s: float = 10) -> socket.socket:
        """Return a socket that is connected to a port of the host's loopback."""
        return self.run(lambda: socket.create_connection(("127.0.0.1", port), timeout=limit_s))

    def get(self, port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Ask for a page and return (status, body).

        Raises:
            OSError: nobody answers.
        """
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.sock = self.connect(port)
        try:
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Yield a new network with its loopback up, and take it away again."""
    made = Network(f"musabi-{uuid.uuid4().hex[:8]}")
    ip = ("ip", "-netns", made.name)
    subprocess.run(["ip", "netns", "add", made.name], check=True, timeout=30)
    try:
        subprocess.run([*ip, "link", "set", "lo", "up"], check=True, timeout=30)
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", made.name], check=False, timeout=30)
