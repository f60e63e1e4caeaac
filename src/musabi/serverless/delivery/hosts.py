"""A result goes to a public file host as a zip: who has the link may fetch it until it runs out."""

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from musabi.errors import MachineError, RequestError
from musabi.hub.addresses import shown
from musabi.hub.guarded import guarded_client
from musabi.hub.listing import gigabytes
from musabi.serverless.context import Context
from musabi.serverless.delivery.way import AgainError, Handover
from musabi.serverless.parts import Delivery

if TYPE_CHECKING:
    import httpx

PIECE = 1024 * 1024
SILENCE_SECONDS = 120.0
"""A host may take its time to answer when it has everything."""
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_LINK = 500


@dataclass(frozen=True)
class Host:
    """A file host. `setting` is the endpoint's setting with its address, `days` how long it keeps a file.

    `send` posts the file (client, address, body, file name) and `link` finds the file's address in the answer.
    """

    name: str
    title: str
    setting: str
    most_bytes: int
    days: int
    send: "Callable[[httpx.Client, str, Body, str], httpx.Response]"
    link: "Callable[[httpx.Response], Any]"
    note: str | None = None


class Body(io.BufferedReader):
    """An archive as it is read for sending; `moved` gets the bytes of each piece."""

    def __init__(self, path: Path, moved: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path))
        self._moved = moved

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self._moved(len(piece))
        return piece

    def pieces(self) -> Iterator[bytes]:
        """Yield the content piece by piece."""
        while piece := self.read(PIECE):
            yield piece


def _litterbox(client: "httpx.Client", url: str, body: Body, name: str) -> "httpx.Response":
    fields = {"reqtype": "fileupload", "time": "72h"}
    return client.post(url, data=fields, files={"fileToUpload": (name, body, "application/zip")})


def _transfer_sh(client: "httpx.Client", url: str, body: Body, name: str) -> "httpx.Response":
    headers = {
        "Max-Days": "14",
        "Content-Length": str(os.fstat(body.fileno()).st_size),
        "Content-Type": "application/zip",
    }
    return client.put(f"{url.rstrip('/')}/{name}", content=body.pieces(), headers=headers)


def _file_io(client: "httpx.Client", url: str, body: Body, name: str) -> "httpx.Response":
    return client.post(url, data={"expires": "14d"}, files={"file": (name, body, "application/zip")})


def _text(answer: "httpx.Response") -> str:
    return answer.text


def _json_link(answer: "httpx.Response") -> Any:  # noqa: ANN401 - any JSON value
    value = answer.json()
    return value.get("link") if isinstance(value, dict) and value.get("success") else None


HOSTS = (
    Host("litterbox", "Litterbox", "litterbox_url", 10**9, 3, _litterbox, _text),
    Host("transfer_sh", "transfer.sh", "transfer_sh_url", 10 * 10**9, 14, _transfer_sh, _text),
    Host(
        "file_io",
        "file.io",
        "file_io_url",
        2 * 10**9,
        14,
        _file_io,
        _json_link,
        "One-time download link - file deleted after first download",
    ),
)
"""The original API's hosts, with the most that each takes and how long it keeps it."""
BY_NAME = {host.name: host for host in HOSTS}


def send(handover: Handover, host: Host) -> Delivery:
    """Send the archive and return its link.

    Raises:
        RequestError: the host has no address here, or its address is refused.
        MachineError: the archive is too large for it, or the host refused or can't be reached.
        Cancelled: the job shall end.
    """
    url = address(handover.context, host)
    archive = handover.archive
    if archive.size > host.most_bytes:
        raise MachineError(
            f"{host.title} takes at most {gigabytes(host.most_bytes)}, and the archive has "
            f"{gigabytes(archive.size)}. Use huggingface or s3."
        )
    message = f"Uploading to {host.title}..."
    handover.context.tell("uploading", message, progress=0.0)
    link = handover.persist(host.title, lambda: _send_once(handover, host, url, message))
    return Delivery(
        download_method=host.name,
        download_url=link,
        expires_in_days=host.days,
        archive_size_mb=handover.archive_mb,
        note=host.note,
        files=tuple(one.name for one in handover.pieces),
    )


def address(context: Context, host: Host) -> str:
    """Return a host's address; raises RequestError where it has none here."""
    url = getattr(context.settings, host.setting)
    if not url:
        raise RequestError(
            f"{host.title} has no address on this endpoint. Set {host.setting.upper()} on it, or use "
            "another output.method."
        )
    return str(url)


def _send_once(handover: Handover, host: Host, url: str, message: str) -> str:
    import httpx

    archive = handover.archive
    moved = handover.moved(message, archive.size)
    try:
        with guarded_client(silence_s=SILENCE_SECONDS) as client, Body(archive.path, moved) as body:
            answer = host.send(client, url, body, archive.name)
    except (httpx.TransportError, httpx.StreamError) as error:
        raise AgainError(
            f"The connection to {shown(url)} broke ({type(error).__name__}). Check that it is there."
        ) from None
    if answer.status_code in AGAIN:
        raise AgainError(f"{shown(url)} answered {answer.status_code}. Try again later, or use another way.")
    if not answer.is_success:
        raise MachineError(f"{shown(url)} did not take the archive ({answer.status_code}).")
    return _checked_link(host, answer, url)


def _checked_link(host: Host, answer: "httpx.Response", url: str) -> str:
    """Return the link that a host answered with; a page or a message in its place is none."""
    try:
        link = str(host.link(answer) or "").strip()
        parts = urlsplit(link)
        usable = parts.scheme in ("https", "http") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable or len(link) > LONGEST_LINK or not link.isprintable() or " " in link:
        raise MachineError(f"{shown(url)} answered without a link to the file.")
    return link
