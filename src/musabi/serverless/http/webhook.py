"""Calls the webhooks of jobs that have ended: a POST of what /status says, up to three times."""

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from musabi.errors import MusabiError, RequestError
from musabi.hub import guarded
from musabi.hub.addresses import shown
from musabi.hub.guarded import Network, guarded_client
from musabi.serverless.queue.rows import Job
from musabi.serverless.queue.store import Store
from musabi.serverless.queue.vault import WEBHOOK, Vault

if TYPE_CHECKING:
    import httpx

AGAIN_SECONDS = 10.0
"""Between two calls, as on Runpod."""
LOOK_SECONDS = 1.0
SILENCE_SECONDS = 10.0
CALL_SECONDS = 20.0
"""How long one call may take in all: a receiver may send a byte now and then for ever."""
AT_A_TIME = 16
AT_A_HOST = 4
"""How many of them go to one receiver at most: a slow one holds up its own alone."""
MOST_DUE = 200


class Webhooks:
    """The thread that calls webhooks. What is due stands in the store, so a restart forgets none."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        status: Callable[[Job], dict[str, Any]],
        say: Callable[[str], None],
        network: Network | None = None,
        again_s: float = AGAIN_SECONDS,
        call_s: float = CALL_SECONDS,
    ) -> None:
        self._store = store
        self._vault = vault
        self._status = status
        self._say = say
        self._network = network
        self._again_s = again_s
        self._call_s = call_s
        self._pool = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="webhook")
        self._going: dict[str, str] = {}
        """The hosts of the calls under way, by job."""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="webhooks", daemon=True)

    def start(self) -> None:
        """Begin to look for webhooks that are due."""
        self._thread.start()

    def stop(self) -> None:
        """End after the calls that are under way; what is due then is called after the next start."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown()

    def call_due(self) -> list[Future[None]]:
        """Begin to call the webhooks that are due now, as many as may be at a time; return what was begun."""
        going = dict(self._going)  # taken first: a call that ends meanwhile may still count as due below
        hosts = Counter(going.values())
        begun: list[Future[None]] = []
        for job in self._store.due_hooks(MOST_DUE):
            if hosts.total() >= AT_A_TIME:
                break
            url = None if job.id in going else self._address(job)
            host = host_of(url or "")
            if job.id in going or hosts[host] >= AT_A_HOST:
                continue
            hosts[host] += 1
            self._going[job.id] = host
            begun.append(self._pool.submit(self._call, job, url))
        return begun

    def _loop(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            try:
                self.call_due()
            except (OSError, sqlite3.Error) as problem:
                self._say(f"The webhooks that are due can't be looked up: {problem}")

    def _address(self, job: Job) -> str | None:
        return job.hook or self._vault.read(job.id).get(WEBHOOK)

    def _call(self, job: Job, url: str | None) -> None:
        try:
            problem, final = (None, True) if url is None else self._post(url, self._status(job))
            if problem and url:
                self._say(f"The webhook of job {job.id} at {host_of(url)} was not taken: {problem}")
            done = problem is None or final
            self._store.note_hook(job.id, job.retries, None if done else self._again_s)
        except (OSError, sqlite3.Error) as trouble:
            self._say(f"A webhook can't be noted as called: {trouble}")
        finally:
            del self._going[job.id]

    def _client(self) -> "httpx.Client":
        import httpcore

        from musabi.serverless.http.deadline import DeadlineBackend

        network = self._network or guarded.NETWORK
        connect = DeadlineBackend(network.connect or httpcore.SyncBackend(), self._call_s)
        return guarded_client(Network(network.resolve, connect), silence_s=SILENCE_SECONDS)

    def _post(self, url: str, values: dict[str, Any]) -> tuple[str | None, bool]:
        """Return what went wrong, None where nothing, and whether that is final."""
        import httpx

        try:
            # The answer's body is left unread: there is no end to what a stranger's server may send.
            with self._client() as client, client.stream("POST", url, json=values) as answer:
                status = answer.status_code
        except (RequestError, httpx.InvalidURL) as problem:
            return without_path(str(problem), url), True
        except MusabiError as problem:
            return str(problem), False
        except (httpx.HTTPError, OSError) as problem:
            return f"{type(problem).__name__}.", False
        return (None, True) if status == 200 else (f"it answered {status}.", False)


def host_of(url: str) -> str:
    """Return the host of a webhook's address; the rest of it is often the key to it."""
    return urlsplit(url).hostname or "its address"


def without_path(text: str, url: str) -> str:
    """Return a message that names a webhook's host in place of its address."""
    return text.replace(shown(url), host_of(url)).replace(url, host_of(url))
