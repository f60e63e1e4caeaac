"""An httpx transport that decides at the moment of connecting, when a name has become an address.

httpcore knows the host only by its name, and so proves that name over TLS and shares connections by it; the
guard stands below, where httpcore asks for a connection to that name.
"""

import os
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import httpcore
import httpx

from musabi.errors import RequestError
from musabi.hub.addresses import PORTS, Resolve, allowed, require_form


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to addresses that `allowed` lets through: the first of a host's that answers."""

    def __init__(
        self, resolve: Resolve, backend: httpcore.NetworkBackend, scheme: str, *, allow_private: bool
    ) -> None:
        self._resolve = resolve
        self._backend = backend
        self._scheme = scheme
        self._allow_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = allowed(
            self._scheme, host, port, allow_private=self._allow_private, resolve=self._resolve
        )
        for address in addresses[:-1]:
            try:
                return self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._backend.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        raise httpcore.UnsupportedProtocol("Sockets of this machine are not asked.")

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class GuardedTransport(httpx.BaseTransport):
    """Sends a request once its address has the form of a file's; connections are the guard's."""

    def __init__(
        self, resolve: Resolve, connect: httpcore.NetworkBackend | None, *, allow_private: bool = False
    ) -> None:
        context = _certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        backend = connect or httpcore.SyncBackend()
        self._pools = {
            scheme: httpcore.ConnectionPool(
                ssl_context=context,
                network_backend=GuardedBackend(resolve, backend, scheme, allow_private=allow_private),
            )
            for scheme in PORTS
        }

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        scheme, _, _ = require_form(str(request.url))
        if not isinstance(request.stream, httpx.SyncByteStream):
            raise RequestError("A body that only an asynchronous client can send can't be sent here.")
        inner = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            # A name for TLS other than the URL's would be proved in its place.
            extensions={name: value for name, value in request.extensions.items() if name == "timeout"},
        )
        with _as_httpx():
            answer = self._pools[scheme].handle_request(inner)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()


@lru_cache(maxsize=4)
def _certificates(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    """Return whom to trust, as the environment says; reading it takes longer than many a request."""
    return httpx.create_ssl_context(trust_env=True)


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Turn httpcore's errors into httpx's, which have the same names."""
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.UnsupportedProtocol,
        httpcore.ProxyError,
    ) as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error
