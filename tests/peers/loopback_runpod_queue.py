"""A stand-in for Runpod Serverless on 127.0.0.1: the queue that real workers take jobs from and real clients ask.

The worker's side speaks to Runpod's own SDK (job-take, job-done, job-stop, ping), the client's side is that of
api.runpod.ai (run, status, cancel, retry, health). It follows the documented states and forgets nothing.

    with running_queue() as queue:
        job = queue.submit({"model_type": "qwen"})      # as POST /run does
        queue.posted                                    # [(job id, body)] as the worker posted them, in order
        queue.fail(429, times=2)                        # the next two requests of a client are answered 429
        queue.cut("run")                                # the next /run is taken, and the connection cut
    queue.slow_progress_s = 0.5                     # so long a post of progress takes to arrive
    queue.cut_after = 2                             # so are all after the second
    queue.on_status = lambda job: ...               # done whenever a client asks how a job stands
        queue.worker_is_gone(job)                       # a worker went away: its job goes back into the queue
"""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

KEY = "rpa_MARKEDCLIENTKEY0123456789"
WORKER_KEY = "rpa_MARKEDWORKERKEY0123456789"
ENDPOINT = "endpoint1marked"
WORKER = "worker1marked"
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
HOLD_SECONDS = 0.5
"""How long a worker's question for jobs is held open; Runpod holds it for some 90 s."""


@dataclass
class Job:
    """A job of the queue. Times are Unix seconds."""

    id: str
    input: Any
    policy: dict[str, Any] = field(default_factory=dict)
    state: str = "IN_QUEUE"
    output: Any = None
    error: str | None = None
    submitted: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    deliveries: int = 0
    worker: str | None = None

    def as_status(self) -> dict[str, Any]:
        values: dict[str, Any] = {"id": self.id, "status": self.state}
        if self.started is not None:
            values["delayTime"] = int(1000 * (self.started - self.submitted))
            values["executionTime"] = int(1000 * ((self.ended or time.time()) - self.started))
        if self.output is not None:
            values["output"] = self.output
        return values | ({"error": self.error} if self.error else {})


class LoopbackQueue:
    """The queue. `posted` holds what workers posted, `pings` the query of each heartbeat.

    `takers` are the workers that asked for jobs, `asked` is what clients asked for, `strangers` counts
    requests without the right key, `retried_with` holds the bodies of retries.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.pings: list[str] = []
        self.unhealthy: list[str] = []
        self.asked: list[str] = []
        self.takers: set[str] = set()
        self.strangers = 0
        self.changed = threading.Condition()
        self.over = False
        self.on_status: Callable[[Job], None] = lambda _job: None
        self.cut_after: int | None = None
        self.refuses: str | None = None
        self.retried_with: list[Any] = []
        self.slow_progress_s = 0.0
        self._stops: list[tuple[str | None, str]] = []
        self._failures: list[int] = []
        self._cuts: list[str] = []
        queue = self

        class Handler(_Handler):
            owner = queue

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.root = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.url = f"{self.root}/v2/{ENDPOINT}"

    @property
    def environment(self) -> dict[str, str]:
        """What Runpod sets in a worker, as far as its SDK reads it."""
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{self.url}/job-take/$ID?gpu=NVIDIA+A40",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{self.url}/job-done/$RUNPOD_POD_ID/$ID?gpu=NVIDIA+A40",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{self.url}/job-stream/$RUNPOD_POD_ID/$ID?gpu=NVIDIA+A40",
            "RUNPOD_WEBHOOK_PING": f"{self.url}/ping/$RUNPOD_POD_ID",
            "RUNPOD_PING_INTERVAL": "1000",
            "RUNPOD_AI_API_KEY": WORKER_KEY,
            "RUNPOD_POD_ID": WORKER,
            "RUNPOD_ENDPOINT_ID": ENDPOINT,
        }

    def submit(self, given: Any, job_id: str | None = None, policy: dict[str, Any] | None = None) -> str:
        job = Job(job_id or str(uuid.uuid4()), given, policy or {})
        with self.changed:
            self.jobs[job.id] = job
            self.changed.notify_all()
        return job.id

    def cancel(self, job_id: str) -> None:
        self._stop(job_id, "CANCELLED")

    def retry(self, job_id: str) -> None:
        """Put a job that failed or timed out into the queue again: same id, same input."""
        self.worker_is_gone(job_id)

    def worker_is_gone(self, job_id: str) -> None:
        with self.changed:
            job = self.jobs[job_id]
            job.state, job.error, job.output, job.started, job.ended = "IN_QUEUE", None, None, None, None
            self.changed.notify_all()

    def wait_for(self, what: Callable[[], bool], limit_s: float = 20) -> None:
        """Wait until something is so.

        Raises:
            TimeoutError: it is not, after `limit_s` seconds.
        """
        with self.changed:
            deadline = time.monotonic() + limit_s
            while not what():
                if time.monotonic() > deadline:
                    raise TimeoutError([job.as_status() for job in self.jobs.values()])
                self.changed.wait(0.05)

    def wait(self, job_id: str, state: str, limit_s: float = 20) -> Job:
        self.wait_for(lambda: self.jobs[job_id].state == state, limit_s)
        return self.jobs[job_id]

    def posts(self, job_id: str) -> list[dict[str, Any]]:
        return [body for one, body in self.posted if one == job_id]

    def fail(self, status: int, times: int = 1) -> None:
        self._failures = [status] * times

    def cut(self, action: str) -> None:
        self._cuts.append(action)

    # What the worker's side asks for.

    def take(self, worker: str) -> dict[str, Any] | None:
        with self.changed:
            deadline = time.monotonic() + HOLD_SECONDS
            while not self.over and time.monotonic() < deadline:
                for job in self.jobs.values():
                    if job.state == "IN_QUEUE":
                        return self._deliver(job, worker)
                self.changed.wait(0.05)
        return None

    def take_stops(self, worker: str) -> list[str]:
        with self.changed:
            deadline = time.monotonic() + HOLD_SECONDS
            while not self.over and time.monotonic() < deadline:
                self._end_late_jobs()
                stops = [job_id for one, job_id in self._stops if one == worker]
                if stops:
                    self._stops = [stop for stop in self._stops if stop[0] != worker]
                    return stops
                self.changed.wait(0.05)
        return []

    def done(self, job_id: str, body: dict[str, Any]) -> None:
        if body.get("status") == "IN_PROGRESS":
            time.sleep(self.slow_progress_s)
        with self.changed:
            self.posted.append((job_id, body))
            job = self.jobs[job_id]
            if job.state == "IN_PROGRESS":
                job.output = body.get("output")
                if body.get("status") != "IN_PROGRESS":
                    job.error, job.ended = body.get("error"), time.time()
                    job.state = "FAILED" if job.error else "COMPLETED"
            self.changed.notify_all()

    def _deliver(self, job: Job, worker: str) -> dict[str, Any]:
        job.state, job.started, job.worker = "IN_PROGRESS", time.time(), worker
        job.deliveries += 1
        self.changed.notify_all()
        return {"id": job.id, "input": job.input, "webhook": None}

    def _end_late_jobs(self) -> None:
        for job in list(self.jobs.values()):
            limit = job.policy.get("executionTimeout")
            if job.state == "IN_PROGRESS" and limit and time.time() - (job.started or 0) > limit / 1000:
                self._stop(job.id, "TIMED_OUT")

    def _stop(self, job_id: str, state: str) -> None:
        with self.changed:
            job = self.jobs[job_id]
            if job.state == "IN_PROGRESS":
                self._stops.append((job.worker, job_id))
            if job.state not in ENDED:
                job.state, job.ended, job.output = state, time.time(), None
            self.changed.notify_all()

    # What the client's side asks for.

    def answer(self, method: str, action: str, rest: str, body: Any) -> tuple[int, Any]:
        with self.changed:
            self.asked.append(action)
        if self._failures:
            return self._failures.pop(0), {"error": "refused by the test"}
        if (method, action) == ("POST", "run"):
            if not isinstance(body, dict) or "input" not in body:
                return 400, {"error": "input is required"}
            job_id = self.submit(body["input"], None, body.get("policy"))
            if self.refuses is not None:  # as musabi serve does with an input that is wrong
                self.jobs[job_id].state, self.jobs[job_id].error = "FAILED", self.refuses
            return 200, {"id": job_id, "status": self.jobs[job_id].state}
        if (method, action) == ("GET", "health"):
            states = [job.state for job in self.jobs.values()]
            counts = {
                "completed": "COMPLETED",
                "failed": "FAILED",
                "inProgress": "IN_PROGRESS",
                "inQueue": "IN_QUEUE",
            }
            return 200, {
                "jobs": {name: states.count(state) for name, state in counts.items()},
                "workers": {"idle": 1, "running": 0},
            }
        job = self.jobs.get(rest)
        if job is None:
            return 404, {"error": "job not found"}
        if (method, action) == ("POST", "cancel"):
            self.cancel(rest)
        elif (method, action) == ("POST", "retry"):
            if job.state not in ("FAILED", "TIMED_OUT"):
                return 400, {"error": "job is not FAILED or TIMED_OUT"}
            if self.refuses is not None:
                return 400, {"error": self.refuses}
            self.retried_with.append(body)
            self.retry(rest)
        elif (method, action) == ("GET", "status"):
            self.on_status(job)
        else:
            return 404, {"error": "not found"}
        return 200, job.as_status() if action == "status" else {"id": job.id, "status": job.state}

    def is_cut(self, action: str) -> bool:
        if action == "run" and self.cut_after is not None and len(self.jobs) > self.cut_after:
            return True
        if action not in self._cuts:
            return False
        self._cuts.remove(action)
        return True


class _Handler(BaseHTTPRequestHandler):
    owner: LoopbackQueue
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._route("GET")

    def do_POST(self) -> None:
        self._route("POST")

    def _route(self, method: str) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        _, version, endpoint, action, *rest = [*parts.path.split("/"), "", "", ""]
        if version != "v2" or endpoint != ENDPOINT:
            self._send(404, {"error": "endpoint not found"})
        elif action in ("job-take", "job-stop", "job-done", "ping"):
            self._of_worker(action, rest[0], rest[1], raw, parts.query)
        elif self.headers.get("Authorization") != f"Bearer {KEY}":
            self.owner.strangers += 1
            self._send(401, {"error": "unauthorized"})
        else:
            status, body = self.owner.answer(method, action, rest[0], json.loads(raw) if raw else None)
            if self.owner.is_cut(action):
                self.close_connection = True
                self.connection.close()
                return
            self._send(status, body)

    def _of_worker(self, action: str, worker: str, job_id: str, raw: bytes, query: str) -> None:
        if self.headers.get("Authorization") != WORKER_KEY:
            self._send(401, {"error": "unauthorized"})
        elif action == "job-take":
            self.owner.takers.add(worker)
            job = self.owner.take(worker)
            self._send(200 if job else 204, job)
        elif action == "job-stop":
            stops = self.owner.take_stops(worker)
            self._send(200 if stops else 204, {"jobsToStop": stops} if stops else None)
        elif action == "job-done":
            self.owner.done(job_id, json.loads(raw))
            self._send(200, {})
        else:
            (self.owner.unhealthy if "status=unhealthy" in query else self.owner.pings).append(query)
            self._send(200, {})

    def _send(self, status: int, value: Any) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        try:
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            return  # whoever asked did not wait

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def running_queue() -> Iterator[LoopbackQueue]:
    """Yield the queue, listening until the block ends."""
    queue = LoopbackQueue()
    thread = threading.Thread(target=queue.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield queue
    finally:
        with queue.changed:
            queue.over = True
            queue.changed.notify_all()
        queue.server.shutdown()
        queue.server.server_close()
        thread.join(timeout=5)
