"""A network of a test's own: what names lead to, and every connection, noted and made to this machine alone.

    network = RecordingNetwork({"files.example": [["93.184.216.34"]]})
    network.lead("93.184.216.34", files.url)           # that address is this loopback server
    guarded_client(network.as_network())

A name has a list of answers: one for each time it is looked up, the last of them for good. An address in digits,
in whatever spelling the C library takes, is itself. A connection to an address that leads nowhere is refused. On
connections that are made, TLS is left out (the peers speak plain HTTP) unless `tls` is set.
"""

import socket
import ssl
from collections.abc import Iterable
from urllib.parse import urlsplit

import httpcore

from musabi.hub.guarded import Network


class RecordingNetwork(httpcore.NetworkBackend):
    """`looked_up` holds the names, `connects` (address, port) of every connection that was asked for."""

    def __init__(self, names: dict[str, list[list[str]]] | None = None, *, tls: bool = False) -> None:
        self.names = names or {}
        self.looked_up: list[str] = []
        self.connects: list[tuple[str, int]] = []
        self._peers: dict[str, tuple[str, int]] = {}
        self._tls = tls
        self._backend = httpcore.SyncBackend()

    def as_network(self) -> Network:
        return Network(self.resolve, self)

    def lead(self, address: str, url: str) -> None:
        """Let connections to `address`, whatever the port, go to the loopback server of `url`."""
        parts = urlsplit(url)
        assert parts.hostname == "127.0.0.1" and parts.port
        self._peers[address] = (parts.hostname, parts.port)

    def host(self, name: str, address: str, url: str) -> None:
        """Let a name lead to an address, and the address to the loopback server of `url`."""
        self.names[name] = [[address]]
        self.lead(address, url)

    def resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append(host)
        answers = self.names.get(host.rstrip("."))
        if answers is not None:
            return answers.pop(0) if len(answers) > 1 else answers[0]
        digits = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return [str(entry[4][0]).partition("%")[0] for entry in digits]

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        self.connects.append((host, port))
        if host not in self._peers:
            raise httpcore.ConnectError(f"{host} leads nowhere in this test")
        there, number = self._peers[host]
        stream = self._backend.connect_tcp(there, number, timeout, local_address, socket_options)
        return stream if self._tls else _Plain(stream)


class _Plain(httpcore.NetworkStream):
    """A connection that stays as it is when TLS is to begin."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return self

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)
