"""Any files of any repo, by the hub's own client: what `musabi models download` does."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from musabi.children import Cancelled
from musabi.errors import RequestError
from musabi.hub.access import Access
from musabi.hub.client import GOES_ON_WITHOUT_XET, run_client, why_it_failed
from musabi.hub.faults import HubError, hub_error, signs_of
from musabi.hub.listing import missing_bytes
from musabi.hub.weights import hub_cache

REPO_TYPES = ("model", "dataset", "space")


@dataclass(frozen=True)
class DownloadRequest:
    """What to fetch (`hf download`'s own terms) and where to: a plain folder, a cache, or the usual cache."""

    repo: str
    files: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    revision: str | None = None
    repo_type: str = "model"
    local_dir: Path | None = None
    cache_dir: Path | None = None
    max_workers: int = 16


def check(request: DownloadRequest) -> None:
    """Refuse a request that can't be right.

    Raises:
        RequestError: both folders are given, or a value is unknown.
    """
    if request.local_dir is not None and request.cache_dir is not None:
        raise RequestError(
            "--local-dir and --cache-dir can't be used together. Use --local-dir for plain files in a folder, or "
            "--cache-dir for a cache that several programs share."
        )
    if request.repo_type not in REPO_TYPES:
        raise RequestError(
            f'--repo-type is "{request.repo_type}", but must be one of {", ".join(REPO_TYPES)}.'
        )
    if request.max_workers < 1:
        raise RequestError(f"--max-workers is {request.max_workers}, but must be at least 1.")
    if "/" not in request.repo.strip("/"):
        raise RequestError(
            f'"{request.repo}" is not a repo. Write it as OWNER/NAME, as its page on the hub does.'
        )
    if request.files and (request.include or request.exclude):
        raise RequestError("--include and --exclude don't go with named files. Give the one or the other.")


def arguments(request: DownloadRequest) -> list[str]:
    """Return the client's arguments for a request."""
    pairs = [
        *(("--include", pattern) for pattern in request.include),
        *(("--exclude", pattern) for pattern in request.exclude),
        ("--revision", request.revision),
        ("--repo-type", request.repo_type),
        ("--local-dir", request.local_dir),
        ("--cache-dir", request.cache_dir),
        ("--max-workers", request.max_workers),
    ]
    given = [part for name, value in pairs if value is not None for part in (name, str(value))]
    return ["download", request.repo, *request.files, *given]


def download(
    request: DownloadRequest,
    access: Access,
    *,
    say: Callable[[str], None] = lambda _text: None,
    log: Callable[[str], None] = lambda _line: None,
    moved: Callable[[int], None] = lambda _size: None,
    cancel: threading.Event | None = None,
) -> Path:
    """Fetch what is asked for and return the folder (or, for one named file, the file).

    Raises:
        RequestError: the request can't be right.
        MachineError: the disk is too small, or the hub refused or could not be reached (HubError).
        Cancelled: `cancel` was set.
    """
    check(request)
    folder = _folder(request, access)
    failures = 0
    plain = False
    while True:
        try:
            missing_bytes([(folder, _bytes_to_come(request, access))])
            outcome = run_client(
                arguments(request), folder, access, plain=plain, moved=moved, log=log, cancel=cancel
            )
            if outcome.done:
                return _result(outcome.tail, folder)
            raise why_it_failed(
                outcome,
                request.repo,
                access,
                folder,
                lambda: _bytes_to_come(request, access),
                again="try again",
            )
        except HubError as fault:
            failures += 1
            if not fault.retry or failures >= access.attempts:
                raise
            plain = plain or fault.kind in GOES_ON_WITHOUT_XET
            say(f"{request.repo}: {fault.kind}, trying again")
        if cancel is None:
            time.sleep(access.delay(failures))
        elif cancel.wait(access.delay(failures)):
            raise Cancelled


def _folder(request: DownloadRequest, access: Access) -> Path:
    if request.local_dir is not None:
        return request.local_dir
    cache = request.cache_dir or hub_cache(dict(access.environment))
    return cache / f"{request.repo_type}s--{request.repo.replace('/', '--')}"


def _bytes_to_come(request: DownloadRequest, access: Access) -> int:
    """Return how many bytes the client would fetch now, by its own dry run."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=access.endpoint, token=access.token or False)
    cache = request.cache_dir or (None if request.local_dir else hub_cache(dict(access.environment)))
    patterns = [f"{name}**" if name.endswith("/") else name for name in request.files] or list(
        request.include
    )
    try:
        files = api.snapshot_download(
            request.repo,
            repo_type=request.repo_type,
            revision=request.revision,
            cache_dir=cache,
            local_dir=request.local_dir,
            allow_patterns=patterns or None,
            ignore_patterns=list(request.exclude) or None,
            etag_timeout=access.request_s,
            dry_run=True,
        )
    except Exception as error:
        names = {
            "repo": request.repo,
            "endpoint": access.endpoint,
            "revision": request.revision or "main",
            "path": ", ".join(request.files) or "?",
            "again": "try again",
        }
        raise hub_error(signs_of(error, access.token is not None), **names) from error
    return sum(file.file_size or 0 for file in files if file.will_download)


def _result(tail: tuple[str, ...], folder: Path) -> Path:
    """Return the path that the client printed last (`path: ...` or the bare path)."""
    last = tail[-1].rpartition("path: ")[2].strip() if tail else ""
    return Path(last) if last and Path(last).exists() else folder
