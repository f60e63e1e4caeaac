"""How the verbs for jobs on endpoints reach them: keys, connections, and what is remembered of the jobs."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from musabi.commands.options import settings_from
from musabi.errors import RequestError

if TYPE_CHECKING:
    from musabi.serverless.client.endpoint import Endpoint
    from musabi.serverless.client.remembered import KnownJob, Remembered

SHORTEST_ID = 4


class Asking:
    """Asks for jobs wherever they are, with one connection an endpoint, and remembers what is said.

    `trouble` is what the last look could not find out.
    """

    def __init__(self, known: "Remembered") -> None:
        self._known = known
        self._open = ExitStack()
        self._there: dict[str, Endpoint] = {}
        self.trouble: tuple[str, ...] = ()

    def __enter__(self) -> "Asking":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def there(self, job: "KnownJob") -> "Endpoint":
        """Return the client of the job's endpoint."""
        if job.endpoint not in self._there:
            self._there[job.endpoint] = self._open.enter_context(connected(job.endpoint))
        return self._there[job.endpoint]

    def look(self, jobs: Sequence["KnownJob"]) -> "list[KnownJob]":
        """Return the jobs as they stand now."""
        from musabi.serverless.client.asking import look

        for job in jobs:
            if not job.has_ended:
                self.there(job)
        now, self.trouble = look(jobs, lambda job: self.there(job).status(job.id))
        self._known.put([new for new, old in zip(now, jobs, strict=True) if new != old])
        return now


@contextmanager
def connected(text: str) -> "Iterator[Endpoint]":
    """Yield a client for an endpoint's id or address; its key comes from the environment.

    Raises:
        RequestError: there is no key, or it is no endpoint.
    """
    from musabi.serverless.client.endpoint import RUNPOD, Endpoint, endpoint

    where = endpoint(text)
    key = os.environ.get(where.variable, "").strip() or None
    if key is None and where.url.startswith(RUNPOD):
        raise RequestError(f"{where.variable} is not set. Make a key in Runpod's console, and export it.")
    parts = urlsplit(where.url)
    if key and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        print(f"Note: {where.name} is not encrypted, and your key goes there as it is.", file=sys.stderr)
    with Endpoint(where, key, say=lambda said: print(f"Note: {said}", file=sys.stderr, flush=True)) as there:
        yield there


def remembered() -> "Remembered":
    """Return what was submitted from here."""
    from musabi.serverless.client.remembered import Remembered

    return Remembered(settings_from().musabi_state_dir)


def of_endpoint(known: "Remembered", endpoint: str | None) -> "list[KnownJob]":
    """Return the known jobs of an endpoint, or all of them."""
    name = name_of(endpoint)
    return [job for job in known.jobs() if name in (None, job.endpoint)]


def name_of(text: str | None) -> str | None:
    """Return the name that an endpoint has in what is remembered."""
    from musabi.serverless.client.endpoint import endpoint

    return None if text is None else endpoint(text).name


def find(text: str, jobs: "Sequence[KnownJob]", endpoint: str | None) -> "KnownJob":
    """Return the job with that id, or whose id begins so.

    Raises:
        RequestError: there is none, or there are several.
    """
    from musabi.serverless.client.remembered import KnownJob

    name = name_of(endpoint)
    mine = [job for job in jobs if name in (None, job.endpoint)]
    found = [job for job in mine if job.id == text]
    if not found and len(text) >= SHORTEST_ID:
        found = [job for job in mine if job.id.startswith(text)]
    if len(found) > 1:
        raise RequestError(f"{len(found)} jobs begin with {text}. Write more of the id.")
    if found:
        return found[0]
    if name is None:
        raise RequestError(f"No job {text} was submitted from here. Say with --endpoint where it is.")
    return KnownJob(text, name, text)
