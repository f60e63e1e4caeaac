"""Lets a boto3 client send by `guarded_client`: an S3 endpoint may be a stranger's address as any other.

botocore looks names up and connects by itself. Its event before-send lets another send in its place; signing,
retries and everything else stay botocore's.
"""

import io
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import httpx
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from musabi.errors import RequestError
from musabi.hub.guarded import Network, guarded_client

PIECE = 1024 * 1024
MOST_ANSWER = 64 * PIECE
"""Bytes of an answer: a list of a thousand keys has about one of these MiB."""
NOT_SENT = frozenset({"expect", "transfer-encoding"})
"""Headers of a connection: 100-continue is not waited for, and the length of a body is known."""

if TYPE_CHECKING:
    from botocore.client import BaseClient


def guard(client: "BaseClient", network: Network | None = None, *, silence_s: float = 60.0) -> None:
    """Let all that `client` (of boto3) sends from now on go to addresses of the public internet alone.

    For uploads and small answers: an answer is held in memory. What the client calls then raises, besides what
    boto3 raises, RequestError for an address that must not be asked and MachineError for an unknown host.
    """
    http = guarded_client(network, silence_s=silence_s)

    def send(request: AWSPreparedRequest, **_more: Any) -> AWSResponse:  # noqa: ANN401 - botocore's own words
        try:
            with http.stream(
                request.method, request.url, headers=_headers(request), content=_body(request.body)
            ) as answer:
                content = _content(answer)
        except httpx.ConnectError as error:
            raise EndpointConnectionError(endpoint_url=_host(request.url), error=error) from None
        except httpx.TimeoutException as error:
            raise ReadTimeoutError(endpoint_url=_host(request.url), error=error) from None
        except httpx.TransportError as error:
            raise ConnectionClosedError(endpoint_url=_host(request.url), error=error) from None
        return AWSResponse(request.url, answer.status_code, dict(answer.headers), _Raw(content))

    client.meta.events.register("before-send", send)


def _content(answer: httpx.Response) -> bytes:
    """Return an answer's body. Where it has no end, the server is no S3 server.

    Raises:
        RequestError: it is larger than any answer that is asked for here.
    """
    body = bytearray()
    for piece in answer.iter_bytes(PIECE):
        body += piece
        if len(body) > MOST_ANSWER:
            raise RequestError(
                f"{_host(str(answer.url))} does not answer as an S3 server does. Check its address."
            )
    return bytes(body)


class _Raw(io.BytesIO):
    """A body with the method by which botocore reads one of urllib3's."""

    def stream(self, amount: int = PIECE, **_more: Any) -> Iterator[bytes]:  # noqa: ANN401 - as urllib3's
        while piece := self.read(amount):
            yield piece


def _headers(request: AWSPreparedRequest) -> list[tuple[bytes, bytes]]:
    return [
        (_bytes(name), _bytes(value))
        for name, value in request.headers.items()
        if str(name).lower() not in NOT_SENT
    ]


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8")


def _body(body: bytes | bytearray | str | IO[bytes] | None) -> bytes | Iterator[bytes] | None:
    if body is None or isinstance(body, bytes):
        return body
    if isinstance(body, str | bytearray):
        return body.encode() if isinstance(body, str) else bytes(body)
    return iter(lambda: body.read(PIECE), b"")


def _host(url: str) -> str:
    """Return the endpoint for a message: an object's address may bear a signature."""
    return f"https://{httpx.URL(url).host}"
