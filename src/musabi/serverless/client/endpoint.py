"""A client of an endpoint: one on Runpod, or `musabi serve`. Both speak the same paths and states.

What only asks, and what may be said twice, is tried again where the endpoint is busy or the network fails. A job
is sent again only where it surely was not taken (429, or no connection): a second one would be billed.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from musabi.errors import MachineError, RequestError
from musabi.hub.addresses import shown

if TYPE_CHECKING:
    import httpx

RUNPOD = "https://api.runpod.ai/v2"
TRIES = 6
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 20.0
ANSWER_SECONDS = 60.0
BUSY = frozenset({408, 429, 500, 502, 503, 504})
SHOWN_CHARACTERS = 300
UNREACHED = "can't be reached"
NO_KEY = "{where} wants a key, and {variable} is not set. Export it."
REFUSALS: dict[int, str] = {
    400: "{where} refused the request: {said}",
    401: "{where} does not take the key in {variable}. Check it, and export the right one.",
    403: "The key in {variable} may not use {where}.",
    404: "{where} does not know that job, or there is no such endpoint.",
    413: "{where} finds the request too large (Runpod takes up to 10 MB).",
}


@dataclass(frozen=True)
class Where:
    """An endpoint: its address, a name that means it again, and the variable that holds its key."""

    url: str
    name: str
    variable: str


def endpoint(text: str) -> Where:
    """Return the endpoint that a person means: the id of one on Runpod, or the address of `musabi serve`.

    Raises:
        RequestError: it is neither.
    """
    if "/" not in text and "." not in text and ":" not in text:
        if not text.replace("-", "").replace("_", "").isalnum():
            raise RequestError(
                f'"{text}" is no endpoint. Give its id on Runpod, or an address such as http://HOST:8000.'
            )
        return Where(f"{RUNPOD}/{text}", text, "RUNPOD_API_KEY")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise RequestError(
            f"{shown(text)} is no endpoint. Give its id on Runpod, or an address such as http://HOST:8000."
        )
    url = shown(text).rstrip("/")
    if url.startswith(f"{RUNPOD}/"):
        return Where(url, url.removeprefix(f"{RUNPOD}/"), "RUNPOD_API_KEY")
    return Where(url, url, "MUSABI_API_KEY")


class NotKnownError(MachineError):
    """A job was sent, and whether it was taken is not known."""


class GoneError(RequestError):
    """The endpoint does not know the job: it never did, or what came of it was kept long enough."""


class Endpoint:
    """The client. Its key is in no message, and not in its repr. Safe to use from several threads.

    `wait` sleeps; `first_wait_s` is how long it waits before the second try, twice that before the third. `say` gets
    a sentence once the second try has failed, too: the others may take long.
    """

    def __init__(
        self,
        where: Where,
        key: str | None,
        *,
        tries: int = TRIES,
        first_wait_s: float = FIRST_WAIT_SECONDS,
        wait: Callable[[float], None] = time.sleep,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        import httpx

        self.where = where
        self._tries = tries
        self._first_wait_s = first_wait_s
        self._wait = wait
        self._say = say
        self._said = False
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(headers=headers, timeout=ANSWER_SECONDS, follow_redirects=False)

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def __repr__(self) -> str:
        return f"Endpoint({self.where.name})"

    def run(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Submit a job: the whole body, its input and perhaps webhook and policy. Return {"id", "status"}.

        Raises:
            NotKnownError: it may have been taken, or not.
            RequestError: it was refused.
            MachineError: the endpoint can't be reached, or is busy for too long.
        """
        return self._ask("POST", "run", body, twice=False)

    def status(self, job_id: str) -> dict[str, Any]:
        """Return how a job stands: {"id", "status", "output"?, "error"?, "executionTime"?}; times are in ms.

        Raises:
            GoneError: the endpoint does not know it.
        """
        return self._ask("GET", f"status/{quote(job_id, safe='')}")

    def cancel(self, job_id: str) -> dict[str, Any]:
        """End a job; what it trained so far is kept on the volume."""
        return self._ask("POST", f"cancel/{quote(job_id, safe='')}")

    def retry(self, job_id: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Let a job that failed or timed out go on; it keeps its id. `body` may bring secrets to `musabi serve`."""
        return self._ask("POST", f"retry/{quote(job_id, safe='')}", body)

    def health(self) -> dict[str, Any]:
        """Return how many jobs and workers there are, by state."""
        return self._ask("GET", "health")

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, twice: bool = True
    ) -> dict[str, Any]:
        """Ask, again where that is right; `twice` tells whether a request that got through may be repeated."""
        import httpx

        for number in range(1, self._tries + 1):
            pause = min(LONGEST_WAIT_SECONDS, self._first_wait_s * 2 ** (number - 1))
            try:
                answer = self._client.request(method, f"{self.where.url}/{path}", json=body)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
                trouble = UNREACHED
            except httpx.InvalidURL:
                raise RequestError(f"{self.where.name} is no address. Check how it is spelled.") from None
            except httpx.HTTPError as problem:
                if not twice:
                    raise self._not_known(f"the connection broke ({type(problem).__name__})") from None
                trouble = "broke the connection"
            else:
                if answer.status_code not in BUSY:
                    self._said = False
                    return self._taken(answer)
                if not twice and answer.status_code != 429:
                    raise self._not_known(f"it answered {answer.status_code}")
                trouble = f"answers {answer.status_code}"
                pause = asked_pause(answer.headers.get("Retry-After", ""), pause)
            if number < self._tries:
                self._tell(number, trouble)
                self._wait(pause)
        advice = (
            "Is it running, and is the address right?" if trouble == UNREACHED else "Try again in a while."
        )
        raise MachineError(f"{self.where.name} {trouble}, {self._tries} times in a row. {advice}")

    def _tell(self, number: int, trouble: str) -> None:
        """Say after the second try what is wrong; once, though many threads ask."""
        if number == 2 and not self._said:
            self._said = True
            self._say(f"{self.where.name} {trouble}. It is tried {self._tries - 2} times more.")

    def _not_known(self, why: str) -> NotKnownError:
        return NotKnownError(
            f"Whether {self.where.name} took the job is not known: {why}. It was not sent again, since it might "
            f"then be trained twice. Look at the endpoint's jobs before you do."
        )

    def _taken(self, answer: "httpx.Response") -> dict[str, Any]:
        """Return the JSON object of an answer.

        Raises:
            RequestError: the endpoint refused, or this is no endpoint.
        """
        value = read(answer)
        if answer.status_code == 404 and not answer.url.path.endswith(("/run", "/health")):
            raise GoneError(REFUSALS[404].format(where=self.where.name))
        if answer.status_code >= 300:
            said = value.get("error") or value.get("message") or f"HTTP {answer.status_code}"
            words = REFUSALS.get(answer.status_code, "{where} answered: {said}")
            if answer.status_code == 401 and "Authorization" not in self._client.headers:
                words = NO_KEY
            raise RequestError(
                words.format(
                    where=self.where.name, variable=self.where.variable, said=str(said)[:SHOWN_CHARACTERS]
                )
            )
        if not value:
            raise RequestError(
                f"{self.where.name} is no endpoint of this kind: its answer is no JSON object."
            )
        return value


def read(answer: "httpx.Response") -> dict[str, Any]:
    """Return the JSON object that an answer holds; an empty one where it holds none."""
    try:
        value = answer.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}


def asked_pause(retry_after: str, otherwise: float) -> float:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3), at most LONGEST_WAIT_SECONDS."""
    if retry_after.strip().isdigit():
        return min(LONGEST_WAIT_SECONDS, float(retry_after))
    try:
        wanted = (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return otherwise
    return min(LONGEST_WAIT_SECONDS, max(0.0, wanted))
