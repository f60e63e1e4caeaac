"""The hub's own client as a child process, with a watchdog on the bytes that it moves."""

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from musabi.children import Outcome, run
from musabi.hub.access import Access
from musabi.hub.faults import HubError, Signs, find, hub_error, signs_of

# What the client must not do here: paint bars into a log, ask the package index for a newer client, report
# usage, warn about the switch that only older clients know.
CLIENT_ENVIRONMENT = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_ENABLE_HF_TRANSFER": "0",
}
STATUS_IN_TEXT = re.compile(r"(?<!\d)([45]\d\d)(?= [A-Z][a-z])")
READ_NOISE = 1_000_000
GOES_ON_WITHOUT_XET = frozenset({"stalled", "connection", "corrupt", "unknown"})


def client_argv(*arguments: str) -> list[str]:
    """Return the command line of `hf` in this very environment. A token is never part of it."""
    return [sys.executable, "-P", "-m", "huggingface_hub.cli.hf", *arguments]


def client_environment(access: Access, plain: bool) -> dict[str, str]:
    """Return the client's environment; `plain` switches Xet off."""
    return dict(access.environment) | CLIENT_ENVIRONMENT | ({"HF_HUB_DISABLE_XET": "1"} if plain else {})


class Watchdog:
    """Watches the bytes that a client moves and gives the reason to end a transfer that stands still.

    The client writes a plain HTTP body in pieces of 10 MB. So that a slow line is not taken for a dead one,
    what the process reads counts as well (proc(5), rchar; TLS sockets are in it), once it is more than a
    client needs to look for its certificates and try again.
    """

    def __init__(self, folder: Path, stall_s: float, moved: Callable[[int], None]) -> None:
        self._folder = folder
        self._stall_s = stall_s
        self._moved = moved
        self._seen: tuple[int, int] | None = None
        self._read = 0
        self._since = time.monotonic()

    def __call__(self, pid: int) -> str | None:
        # Blocks count as well as sizes: Xet may write into a file that already has its full length.
        seen, read = folder_bytes(self._folder), bytes_read(pid)
        if seen != self._seen or read - self._read > READ_NOISE:
            self._seen, self._read, self._since = seen, read, time.monotonic()
            self._moved(seen[0])
        if time.monotonic() - self._since < self._stall_s:
            return None
        return f"no byte for {self._stall_s:.0f} s"


def folder_bytes(folder: Path) -> tuple[int, int]:
    """Return (sizes, bytes of allocated blocks) of all files under a folder, the client's notes left out."""
    size = blocks = 0
    for path in _files(folder):
        try:
            stat = path.lstat()
        except OSError:
            continue
        size += stat.st_size
        blocks += stat.st_blocks * 512
    return size, blocks


def bytes_read(pid: int) -> int:
    """Return how many bytes a process has read so far, from files and sockets; 0 where nobody says."""
    try:
        text = Path(f"/proc/{pid}/io").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(text.partition("rchar:")[2].split()[0])


def run_client(
    arguments: Sequence[str],
    folder: Path,
    access: Access,
    *,
    plain: bool = False,
    moved: Callable[[int], None] = lambda _size: None,
    log: Callable[[str], None] = lambda _line: None,
    cancel: threading.Event | None = None,
) -> Outcome:
    """Run `hf` with `arguments`; end it when no byte arrives under `folder` for `access.stall_s` seconds."""
    return run(
        client_argv(*arguments),
        client_environment(access, plain),
        log=log,
        watch=Watchdog(folder, access.stall_s, moved),
        cancel=cancel,
    )


def why_it_failed(
    outcome: Outcome, repo: str, access: Access, place: Path, ask: Callable[[], object], **names: str
) -> HubError:
    """Return the error for a client that failed; `ask` puts one typed question to the hub about it.

    The client only prints sentences. What the hub answers to the same question in this process carries its
    status and error code.
    """
    names = {"repo": repo, "endpoint": access.endpoint, "place": str(place)} | names
    stall = {"stall_s": f"{access.stall_s:g}"}
    if outcome.ended is not None:
        return hub_error(Signs(text=outcome.ended), **names, **stall)
    status = STATUS_IN_TEXT.search(outcome.text)
    said = Signs(int(status[1]) if status else None, text=outcome.text, token=access.token is not None)
    if find(said).kind == "disk":
        return hub_error(said, **names, **stall)
    try:
        ask()
    except Exception as error:
        return hub_error(signs_of(error, access.token is not None), **names, **stall)
    return hub_error(said, **names, **stall)


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        for path in folder.rglob("*"):
            notes = ".cache" in path.parts and path.suffix != ".incomplete"
            if not notes and path.is_file() and not path.is_symlink():
                yield path
