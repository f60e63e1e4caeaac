"""Downloads one file from an address that somebody gave, into a partial file that a later call goes on with."""

import fcntl
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from musabi.children import Cancelled
from musabi.errors import MachineError, RequestError
from musabi.hub import guarded
from musabi.hub.addresses import check_address, require_form, shown
from musabi.hub.guarded import MOST_REDIRECTS, Network, guarded_client
from musabi.hub.listing import gigabytes
from musabi.hub.room import require_room
from musabi.whole import read_json, write_json

if TYPE_CHECKING:
    import httpx

SAY_SECONDS = 5.0
REDIRECTS = frozenset({301, 302, 303, 307, 308})
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
TYPES = {
    "application/zip": ".zip",
    "application/x-zip-compressed": ".zip",
    "application/x-tar": ".tar",
    "application/gzip": ".gz",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/heic": ".heic",
    "image/tiff": ".tiff",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
}
# Share links give a page about the file. (host ends with, what to do)
SHARE_PAGES: tuple[tuple[str, str], ...] = (
    ("dropbox.com", "End the link with dl=1 in place of dl=0."),
    (
        "google.com",
        "Google Drive asks a question before large files. Download it in the browser and upload it here.",
    ),
    ("1drv.ms", "Choose Download there, and copy the address of the download."),
    ("onedrive.live.com", "Choose Download there, and copy the address of the download."),
    ("huggingface.co", "Write hf:dataset/OWNER/NAME, or /resolve/ in place of /blob/ in the link."),
    ("github.com", "Write /raw/ in place of /blob/ in the link."),
    ("", "It may want a login. Use a link that starts the download by itself."),
)


@dataclass(frozen=True)
class Ways:
    """How a download behaves. `most_bytes` caps it; `silence_s`: seconds without a byte before a new attempt.

    `came` is told how many bytes are here, and of how many (None: the server does not say), every few seconds.
    """

    allow_private: bool = False
    network: Network = field(default_factory=lambda: guarded.NETWORK)
    most_bytes: int = 64 * 1024**3
    silence_s: float = 60
    attempts: int = 5
    backoff_s: float = 2
    say: Callable[[str], None] = lambda _text: None
    came: Callable[[int, int | None], None] = lambda _here, _total: None
    cancel: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Downloaded:
    """A file that arrived whole, and a name for it whose extension says what it is."""

    path: Path
    name: str


class _Again(Exception):  # noqa: N818 - not an error yet
    """Something that another attempt may mend; its text says what it was."""


def download_url(url: str, folder: Path, ways: Ways) -> Downloaded:
    """Fetch `url` into `folder`; a partial file of an earlier call is gone on with, if the server allows it.

    Raises:
        RequestError: the address is wrong or refused, gives a web page, or more than `most_bytes`.
        MachineError: the network failed several times, or the disk has too little room.
        Cancelled: `ways.cancel` was set.
    """
    check_address(url, allow_private=ways.allow_private, resolve=ways.network.resolve)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:24]}.part"
    with _alone(part) as file, _client(ways) as client:
        failures = 0
        while True:
            before = part.stat().st_size
            try:
                return Downloaded(part, _attempt(client, url, file, ways))
            except _Again as reason:
                failures = 1 if part.stat().st_size > before else failures + 1
                if failures >= ways.attempts:
                    raise MachineError(
                        f"{shown(url)} could not be fetched: {reason}, {failures} times. What came so far is "
                        "kept, and the next try goes on from there."
                    ) from None
                ways.say(f"{shown(url)}: {reason}, trying again")
            if ways.cancel.wait(min(60.0, ways.backoff_s * 2 ** (failures - 1))):
                raise Cancelled


def forget(downloaded: Downloaded) -> None:
    """Remove a file that was downloaded and used."""
    downloaded.path.unlink(missing_ok=True)
    _about(downloaded.path).unlink(missing_ok=True)


@contextmanager
def _alone(part: Path) -> Iterator[IO[bytes]]:
    """Open the partial file and hold it: the kernel lets go of it with this process."""
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RequestError("The same address is being fetched already. Wait for that to end.") from None
        except OSError:
            pass  # a network filesystem without locks
        yield file


def _client(ways: Ways) -> "httpx.Client":
    return guarded_client(ways.network, allow_private=ways.allow_private, silence_s=ways.silence_s)


def _attempt(client: "httpx.Client", url: str, file: IO[bytes], ways: Ways) -> str:
    """Fetch what is missing and return the file's name.

    Raises:
        _Again: the connection failed, or the server was busy.
    """
    import httpx

    try:
        with _asked(client, url, file, ways) as answer:
            _refuse(answer, url)
            _take(answer, url, file, ways)
            return _name(url, answer)
    except (httpx.TransportError, httpx.StreamError) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise MachineError(
                f"The server of {shown(url)} can't prove who it is. Check the address, and that "
                "this machine's clock is right."
            ) from None
        silent = isinstance(error, httpx.TimeoutException)
        raise _Again("it sent no byte for a while" if silent else "the connection broke") from None
    except httpx.InvalidURL:
        raise RequestError(f"{shown(url)} is no address. Write it as https://HOST/PATH.") from None


@contextmanager
def _asked(client: "httpx.Client", url: str, file: IO[bytes], ways: Ways) -> "Iterator[httpx.Response]":
    """Ask for the file, or the rest of it, following redirects; each address on the way is checked."""
    here = file.seek(0, 2)
    validator = _validator(Path(file.name)) if here else None
    for _ in range(MOST_REDIRECTS):
        require_form(url)
        headers = {"Accept-Encoding": "identity", "User-Agent": "musabi"}
        if validator:
            headers |= {"Range": f"bytes={here}-", "If-Range": validator}
        answer = client.send(client.build_request("GET", url, headers=headers), stream=True)
        try:
            if answer.status_code not in REDIRECTS:
                yield answer
                return
            url = urljoin(url, answer.headers.get("Location", ""))
        finally:
            answer.close()
    raise RequestError(f"{shown(url)} leads in circles. Check the address.")


def _refuse(answer: "httpx.Response", url: str) -> None:
    status = answer.status_code
    if status in AGAIN:
        raise _Again(f"the server answered {status}")
    if status in (401, 403):
        raise RequestError(
            f"{shown(url)} may not be read ({status}). A link with a signature may have run out: make a new one."
        )
    if status in (404, 410):
        raise RequestError(f"{shown(url)} is not there ({status}). Check the address.")
    if status not in (200, 206, 416):
        raise RequestError(f"{shown(url)} answered {status}, which is no file. Check the address.")
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if status != 416 and kind == "text/html":
        raise RequestError(_page(url))


def _page(url: str) -> str:
    host = urlsplit(url).hostname or ""
    advice = next(text for end, text in SHARE_PAGES if not end or host == end or host.endswith(f".{end}"))
    return f"{shown(url)} is a web page, not a file. {advice}"


def _take(answer: "httpx.Response", url: str, file: IO[bytes], ways: Ways) -> None:
    """Write the body behind what is here, or from the start where the server sends all of it."""
    here = file.seek(0, 2)
    total = _total(answer)
    if answer.status_code == 416 or (answer.status_code == 206 and _start(answer) != here):
        if answer.status_code == 416 and total == here:
            return
        file.truncate(0)
        _about(Path(file.name)).unlink(missing_ok=True)
        raise _Again("the file there has changed")
    if answer.status_code == 200 and here:
        file.truncate(0)
        here = 0
    if total is not None and total > ways.most_bytes:
        raise RequestError(
            f"{shown(url)} has {gigabytes(total)}; more than {gigabytes(ways.most_bytes)} are not fetched."
        )
    require_room(Path(file.name), max(0, (total or 0) - here))
    write_json(_about(Path(file.name)), {"validator": _strong(answer)})
    here = _write(answer, url, file, here, total, ways)
    if total is not None and here != total:
        raise _Again("the connection broke")


def _write(
    answer: "httpx.Response", url: str, file: IO[bytes], here: int, total: int | None, ways: Ways
) -> int:
    said = time.monotonic()
    try:
        for chunk in answer.iter_raw():
            here += len(chunk)
            if here > ways.most_bytes:
                raise RequestError(
                    f"{shown(url)} sends more than {gigabytes(ways.most_bytes)}. It was given up."
                )
            file.write(chunk)
            if ways.cancel.is_set():
                raise Cancelled
            if time.monotonic() - said > SAY_SECONDS:
                said = time.monotonic()
                ways.say(f"{gigabytes(here)} of {gigabytes(total) if total else 'an unknown size'}")
                ways.came(here, total)
    finally:
        file.flush()
    return here


def _total(answer: "httpx.Response") -> int | None:
    """Return the size of the whole file in bytes, where the server says it."""
    ranged = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", answer.headers.get("Content-Range", ""))
    if ranged:
        return int(ranged[1])
    length = answer.headers.get("Content-Length", "")
    plain = answer.headers.get("Content-Encoding", "identity") == "identity"
    return int(length) if answer.status_code == 200 and length.isdigit() and plain else None


def _start(answer: "httpx.Response") -> int | None:
    ranged = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(ranged[1]) if ranged else None


def _strong(answer: "httpx.Response") -> str | None:
    """Return what If-Range may name (RFC 9110, 13.1.5): a strong ETag, else the date of the last change."""
    etag = str(answer.headers.get("ETag", ""))
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified")


def _validator(part: Path) -> str | None:
    about = read_json(_about(part))
    known = about.get("validator") if isinstance(about, dict) else None
    return known if isinstance(known, str) else None


def _about(part: Path) -> Path:
    return part.with_suffix(".json")


def _name(url: str, answer: "httpx.Response") -> str:
    """Return the last part of the address, with an extension that the server names where it has none."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name or "download"
    if PurePosixPath(name).suffix:
        return name
    said = re.search(
        r"filename\*?=[^;]*?(\.[A-Za-z0-9]{1,8})[\"']?\s*(?:;|$)",
        answer.headers.get("Content-Disposition", ""),
    )
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return name + (said[1].lower() if said else TYPES.get(kind, ""))
