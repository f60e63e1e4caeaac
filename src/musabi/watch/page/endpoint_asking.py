"""Asks a `musabi serve` of this machine over HTTP how its jobs stand, aside, so that no page ever waits for it."""

import json
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import httpx

FRESH_SECONDS = 1.5
"""So long an answer is not asked for again: every page that is open shows the same one."""
PATIENCE_SECONDS = 0.4
FIRST_PATIENCE_SECONDS = 1.5
"""So long a page waits for an answer since it was asked for; then it shows the one before, or that there is none."""
ANSWER_SECONDS = 4.0
MOST_BYTES = 8_000_000
MOST_QUESTIONS = 16
SHOWN_JOBS = 25
TITLE = "musabi endpoint"
"""What `musabi serve` calls itself in /openapi.json, which it gives to everybody."""
State = Literal["up", "asking", "off", "refused", "other", "old", "slow", "trouble"]


@dataclass(frozen=True)
class Question:
    """What a page wants to know: the newest jobs of the server at `url`, or those before that number of its list."""

    url: str
    before: int | None = None


@dataclass(frozen=True)
class Seen:
    """How it stood. `asked` is Unix seconds of the last good answer, None before there was one.

    up: it answered. asking: no answer yet. off: nothing listens. refused: the key. other: no musabi serve.
    old: one that can't list jobs. slow: no answer in time, or half of one. trouble: it says itself what is wrong.
    """

    state: State
    said: str = ""
    asked: float | None = None
    health: dict[str, Any] = field(default_factory=dict)
    running: list[Any] = field(default_factory=list)
    newest: list[Any] = field(default_factory=list)
    next: int | None = None


class Unusual(Exception):  # noqa: N818 - an answer, not an error
    """The server did not answer as it should."""

    def __init__(self, state: State, said: str = "") -> None:
        super().__init__(state)
        self.state: State = state
        self.said = said


class Asking:
    """Keeps the last answers in memory. Safe to use from several threads; `key` is in no answer."""

    def __init__(self, key: str | None) -> None:
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._lock = threading.Lock()
        self._seen: OrderedDict[Question, tuple[float, Seen]] = OrderedDict()
        self._going: dict[Question, tuple[float, threading.Event]] = {}
        self._known: set[str] = set()
        self._client: httpx.Client | None = None

    def look(self, question: Question) -> Seen:
        """Return how it stands; where the answer takes long, as it stood before."""
        with self._lock:
            now = time.monotonic()
            moment, seen = self._seen.get(question, (float("-inf"), Seen("asking")))
            if now - moment < FRESH_SECONDS:
                return seen
            if question not in self._going:
                self._going[question] = now, threading.Event()
                threading.Thread(target=self._ask, args=(question,), daemon=True).start()
            began, over = self._going[question]
        patience = FIRST_PATIENCE_SECONDS if seen.state == "asking" else PATIENCE_SECONDS
        over.wait(max(0.0, began + patience - now))
        with self._lock:
            return self._seen.get(question, (0.0, seen))[1]

    def _ask(self, question: Question) -> None:
        try:
            self._note(question, self._answer(question))
        except Unusual as unusual:
            self._known.discard(question.url)
            before = self._seen.get(question, (0.0, Seen("asking")))[1]
            kept = before if unusual.state in ("slow", "trouble") else Seen("asking")
            self._note(question, replace(kept, state=unusual.state, said=unusual.said))
        finally:
            with self._lock:
                _, over = self._going.pop(question)
            over.set()

    def _note(self, question: Question, seen: Seen) -> None:
        with self._lock:
            self._seen[question] = (time.monotonic(), seen)
            self._seen.move_to_end(question)
            while len(self._seen) > MOST_QUESTIONS:
                self._seen.popitem(last=False)

    def _answer(self, question: Question) -> Seen:
        if question.url not in self._known:
            self._require_ours(question.url)
            self._known.add(question.url)
        health = self._get(f"{question.url}/health", self._headers)
        running = self._get(f"{question.url}/jobs?status=IN_PROGRESS&limit=100", self._headers)
        page = f"&before={question.before}" if question.before is not None else ""
        newest = self._get(f"{question.url}/jobs?limit={SHOWN_JOBS}{page}", self._headers)
        following = newest.get("next")
        return Seen(
            "up",
            asked=time.time(),
            health=health,
            running=_list(running.get("jobs")),
            newest=_list(newest.get("jobs")),
            next=following if isinstance(following, int) else None,
        )

    def _require_ours(self, url: str) -> None:
        """Find out what listens there before it is told the key."""
        described = self._get(f"{url}/openapi.json", {})
        info, paths = described.get("info"), described.get("paths")
        if not isinstance(info, dict) or info.get("title") != TITLE or not isinstance(paths, dict):
            raise Unusual("other")
        if "/jobs" not in paths:
            raise Unusual("old")

    def _get(self, address: str, headers: dict[str, str]) -> dict[str, Any]:
        import httpx

        try:
            with suppress(httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                return self._get_once(address, headers)
            return self._get_once(address, headers)  # the connection was one to the server before a restart
        except (httpx.ConnectError, httpx.ConnectTimeout) as problem:
            raise Unusual("off") from problem
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            raise Unusual("slow") from problem

    def _get_once(self, address: str, headers: dict[str, str]) -> dict[str, Any]:
        """Return the JSON object of an answer."""
        import httpx

        if self._client is None:
            self._client = httpx.Client(timeout=ANSWER_SECONDS, trust_env=False, follow_redirects=False)
        until, body = time.monotonic() + ANSWER_SECONDS, bytearray()
        with self._client.stream("GET", address, headers=headers) as answer:
            for piece in answer.iter_bytes():
                body += piece
                if time.monotonic() > until:
                    raise Unusual("slow")
                if len(body) > MOST_BYTES:
                    raise Unusual("other")
        value: Any = None
        with suppress(ValueError, RecursionError):
            value = json.loads(bytes(body))
        if answer.status_code == 200 and isinstance(value, dict):
            return value
        if answer.status_code == 401:
            raise Unusual("refused")
        error = value.get("error") if isinstance(value, dict) else None
        if answer.status_code >= 500 and isinstance(error, str):
            raise Unusual("trouble", error)
        raise Unusual("other")


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
