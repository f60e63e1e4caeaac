"""What `musabi serve` does with a request, whoever brought it: send, look, call off, send again."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from musabi.serverless.http.envelope import read_envelope
from musabi.serverless.http.limits import BadRequest
from musabi.serverless.http.listing import Asked, listed_answer
from musabi.serverless.http.screen import lacking, refusal, take_out
from musabi.serverless.queue.dispatch import Dispatcher
from musabi.serverless.queue.rows import Job, NewJob
from musabi.serverless.queue.states import CAN_BE_RETRIED, ENDED, State
from musabi.serverless.queue.store import Store
from musabi.serverless.queue.stream import Streams
from musabi.serverless.queue.vault import WEBHOOK, Vault
from musabi.serverless.request.secrets import MASK


class NoJob(Exception):  # noqa: N818 - an answer, not an error
    """There is no such job, or no more."""


@dataclass(frozen=True)
class Service:
    """The queue as its clients see it. Each method may be called from any thread; none waits for a job."""

    store: Store
    vault: Vault
    streams: Streams
    dispatcher: Dispatcher
    environ: Mapping[str, str]
    most_waiting: int

    def submit(self, body: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        """Take a request in; return what /run answers. One that is wrong is a job that has FAILED.

        Raises:
            BadRequest: what stands around the input is wrong.
            Full: as many wait as may wait.
        """
        asked = read_envelope(body)
        plain, secrets = take_out(asked.input)
        job_id = f"{prefix}{uuid.uuid4()}"
        keyed = asked.webhook is not None and bool(urlsplit(asked.webhook).query)
        new = NewJob(
            id=job_id,
            input=plain,
            held=tuple(sorted(secrets)),
            low=asked.low,
            execution_s=asked.execution_s,
            ttl_s=asked.ttl_s,
            hook=None if keyed else asked.webhook,
            has_hook=asked.webhook is not None,
        )
        kept = {WEBHOOK: asked.webhook} if keyed and asked.webhook else {}
        wrong = refusal(plain, secrets, self.environ)
        if wrong is not None:
            self.vault.keep(job_id, kept)
            self.store.add_refused(new, wrong)
        else:
            self._add(new, secrets | kept)
        return {"id": job_id, "status": State.FAILED if wrong is not None else State.IN_QUEUE}

    def _add(self, new: NewJob, secrets: dict[str, str]) -> None:
        self.vault.keep(new.id, secrets)
        try:
            self.store.add(new, self.most_waiting)
        except BaseException:
            self.vault.drop(new.id)
            raise
        self.dispatcher.wake()

    def job(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NoJob: there is none.
        """
        job = self.store.get(job_id)
        if job is None:
            raise NoJob
        return job

    def status(self, job_id: str) -> dict[str, Any]:
        """Return what /status answers. Raises NoJob."""
        job = self.job(job_id)
        return status_answer(job, self.dispatcher.progress_of(job_id), self.store.now())

    def jobs(self, asked: Asked) -> dict[str, Any]:
        """Return what /jobs answers: jobs, newest first, and as `next` where the list goes on."""
        found = self.store.newest(asked.limit + 1, asked.before, asked.state)
        shown, now = found[: asked.limit], self.store.now()
        rows = [listed_answer(one, self.dispatcher.progress_of(one.job.id), now) for one in shown]
        return {"jobs": rows} | ({"next": shown[-1].number} if len(found) > len(shown) else {})

    def stream(self, job_id: str) -> dict[str, Any]:
        """Return what /stream answers: the progress since the last call, and the answer once. Raises NoJob."""
        job = self.job(job_id)
        news = self.streams.take(job_id, job.output if job.state in ENDED else None)
        return {"status": job.state, "stream": [{"output": item} for item in news]}

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Call a job off; one that has ended stays as it is. Raises NoJob."""
        job = self.store.call_off(job_id, State.CANCELLED)
        if job is None:
            raise NoJob
        self.dispatcher.wake()
        return {"id": job_id, "status": job.state}

    def retry(self, job_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a job again that failed, was cancelled or timed out; `body` may bring its secrets again.

        Raises:
            NoJob: there is none.
            BadRequest: it can't be sent again, or without its secrets.
            Full: as many wait as may wait.
        """
        job = self.job(job_id)
        if job.state not in CAN_BE_RETRIED:
            raise BadRequest(
                f"The job is {job.state}. Only one that is FAILED, TIMED_OUT or CANCELLED can be retried."
            )
        brought = secrets_in(body)
        secrets = self.vault.read(job_id) | brought
        self._require_right(job, secrets_only(secrets))
        self.vault.keep(job_id, secrets)
        if not self.store.retry(job_id, sorted({*job.held, *brought}), self.most_waiting):
            raise BadRequest("The job has just changed. Look at its status.")
        self.streams.begin_again(job_id)
        self.dispatcher.wake()
        return {"id": job_id, "status": State.IN_QUEUE}

    def _require_right(self, job: Job, secrets: dict[str, str]) -> None:
        plain = self.store.input_of(job.id)
        gone = lacking(job.held, secrets, self.environ, plain)
        if gone:
            raise BadRequest(
                f"The secrets of this job ({', '.join(gone)}) are not kept any more. Send them with the retry, "
                'at their places in {"input": {...}}, or submit the job again.'
            )
        wrong = refusal(plain, secrets, self.environ)
        if wrong is not None:
            raise BadRequest(f"The job can't be retried: {wrong['error']}")

    def purge(self) -> dict[str, Any]:
        """Cancel all that wait; return what /purge-queue answers."""
        return {"removed": self.store.purge(), "status": "completed"}

    def health(self) -> dict[str, Any]:
        """Return what /health answers: Runpod's names."""
        counts = self.store.counts()
        running = self.dispatcher.running
        idle = max(0, self.dispatcher.slots - running)
        return {
            "jobs": {
                "completed": counts[State.COMPLETED],
                "failed": counts[State.FAILED] + counts[State.TIMED_OUT],
                "inProgress": counts[State.IN_PROGRESS],
                "inQueue": counts[State.IN_QUEUE],
                "retried": self.store.retried(),
            },
            "workers": {
                "idle": idle,
                "initializing": 0,
                "ready": idle,
                "running": running,
                "throttled": 0,
                "unhealthy": 0,
            },
        }


def status_answer(job: Job, progress: dict[str, Any] | None, now: float) -> dict[str, Any]:
    """Return a job as Runpod's /status does. Times in milliseconds; `output` holds the progress while it goes on."""
    answer: dict[str, Any] = {"id": job.id, "status": job.state}
    begun = job.first_started or job.ended
    if begun is not None:
        answer["delayTime"] = max(0, round(1000 * (begun - job.created)))
        answer["executionTime"] = round(1000 * job.seconds(now))
    output = job.output if job.output is not None else progress
    if output is not None:
        answer["output"] = output
    if job.state in CAN_BE_RETRIED and isinstance(job.output, dict) and "error" in job.output:
        answer["error"] = job.output["error"]
    return answer | ({"retries": job.retries} if job.retries else {})


def secrets_only(kept: Mapping[str, str]) -> dict[str, str]:
    """Return what the vault keeps without the webhook."""
    return {name: text for name, text in kept.items() if name != WEBHOOK}


def secrets_in(body: dict[str, Any]) -> dict[str, str]:
    """Return the secrets that the body of a retry brings.

    Raises:
        BadRequest: it brings anything else.
    """
    given = body.get("input", {})
    plain, secrets = take_out(given)
    if not isinstance(given, dict) or not all(is_mask(leaf) for leaf in leaves(plain)):
        raise BadRequest(
            'A retry has the input of before. Its "input" may bring the secrets again, nothing else.'
        )
    return secrets


def is_mask(leaf: object) -> bool:
    """Tell whether only a secret was here: the text itself, or an address with its query."""
    return isinstance(leaf, str) and (leaf == MASK or leaf.endswith(f"?{MASK}"))


def leaves(value: Any) -> list[Any]:  # noqa: ANN401 - any JSON value
    """Return the values in a JSON value that are neither objects nor lists."""
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner)]
    return [value]
