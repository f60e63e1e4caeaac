"""Gives the jobs that wait to the GPUs, one each, and looks after those that go on until they have ended.

One thread does it all. What it decides by is the store and the jobs' folders, so it can be killed at any moment:
the next one takes up the processes that still run, and goes on with what was interrupted.
"""

import contextlib
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from musabi.identity import identity
from musabi.job.os_errors import plain_os_error
from musabi.serverless.answers import failed
from musabi.serverless.attempt import COMMAND, SAVE_SECONDS, last_attempt, say_failed, start
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.places import Places
from musabi.serverless.queue.going import Going
from musabi.serverless.queue.reaper import Reaper
from musabi.serverless.queue.rows import Job
from musabi.serverless.queue.states import REASONS, State
from musabi.serverless.queue.store import Store
from musabi.serverless.queue.stream import Streams
from musabi.serverless.queue.vault import WEBHOOK, Vault
from musabi.serverless.queue.verdict import Ended, Verdict, verdict

LOOK_SECONDS = 0.5
RESTART_SECONDS = 2.0
"""How long a job that broke down waits before it goes on, times the number of times it did."""
REAP_SECONDS = 600.0


@dataclass(frozen=True)
class Work:
    """How jobs are done: `slots` is the environment of each GPU, `environ` that of all jobs."""

    slots: Sequence[Mapping[str, str]]
    environ: Mapping[str, str]
    command: Sequence[str] = COMMAND
    patience_s: float = SAVE_SECONDS
    restart_s: float = RESTART_SECONDS


class Dispatcher:
    """The thread between the queue and the GPUs."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        streams: Streams,
        places: Places,
        work: Work,
        reaper: Reaper,
        say: Callable[[str], None],
    ) -> None:
        self._store = store
        self._vault = vault
        self._streams = streams
        self._places = places
        self._work = work
        self._reaper = reaper
        self._say = say
        self._said = ""
        self._going: dict[str, Going] = {}
        self._not_before: dict[str, float] = {}
        self._reap_at = 0.0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="dispatcher", daemon=True)

    @property
    def slots(self) -> int:
        """How many jobs can go on at a time."""
        return len(self._work.slots)

    @property
    def running(self) -> int:
        """How many slots are busy."""
        return len(self._going)

    def progress_of(self, job_id: str) -> dict[str, Any] | None:
        """Return what a job that goes on said last."""
        going = self._going.get(job_id)
        return going.progress if going is not None else None

    def start(self) -> None:
        """Begin; what a server of before left behind is taken up first."""
        self.tick()
        self._thread.start()

    def wake(self) -> None:
        """Look at once: a job was added or called off."""
        self._wake.set()

    def shut_down(self, hurry: Callable[[], bool] = lambda: False) -> int:
        """Let the jobs that go on save their state and end; return how many are left to themselves.

        They stay IN_PROGRESS and go on at the next start. `hurry` is asked whether to wait no longer.
        """
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
        for going in self._going.values():
            going.ask_to_end("shutdown", self._work.patience_s)
        deadline = time.monotonic() + self._work.patience_s + 15
        while self._going and time.monotonic() < deadline and not hurry():
            for going in list(self._going.values()):
                self._look(going)
            time.sleep(0.1)
        return len(self._going)

    def tick(self) -> None:
        """Do what is to be done now."""
        self._store.expire()
        for job in self._store.in_slots():
            if job.id not in self._going:
                self._take_up(job)
        for going in list(self._going.values()):
            self._look(going)
        if time.monotonic() > self._reap_at:
            self._reap_at = time.monotonic() + REAP_SECONDS
            self._reaper.reap()
        self._fill()

    def _loop(self) -> None:
        while not self._closing.is_set():
            try:
                self.tick()
                self._said = ""
            except (OSError, sqlite3.Error) as problem:
                self._say_once(f"The queue can't go on for now: {problem}. It is tried again.")
            except Exception:
                self._say_once(traceback.format_exc())
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say(text)

    def _take_up(self, job: Job) -> None:
        folder = JobFolder(self._places.job(job.id))
        self._going[job.id] = Going(job.id, job.slot or 0, folder, last_attempt(folder), job.started or 0.0)

    def _look(self, going: Going) -> None:
        said = going.new_progress()
        if said is not None:
            self._streams.add(going.job_id, said)
        job = self._store.get(going.job_id)
        if going.is_over(self._work.patience_s):
            self._settle(going, job)
            return
        if job is not None and job.state is State.IN_PROGRESS and job.took_too_long(self._store.now()):
            job = self._store.call_off(job.id, State.TIMED_OUT)
        reason = "timed_out" if job is None else REASONS.get(job.state, "cancelled")
        if job is None or job.state is not State.IN_PROGRESS:
            going.ask_to_end(reason, self._work.patience_s)

    def _settle(self, going: Going, job: Job | None) -> None:
        attempt = going.attempt
        found = verdict(
            Ended(
                state=State.TIMED_OUT if job is None else job.state,
                result=going.folder.result(),
                asked=going.folder.asked_to_stop(),
                restarts=job.restarts if job else 0,
                closing=self._closing.is_set(),
                elsewhere=attempt is None or attempt.container != identity(),
            )
        )
        if found.do == "finish" and going.folder.result() is None and not going.told:
            self._give_up(going, found)
            return
        if found.do == "finish":
            self._finish(going, found)
        else:
            self._interrupt(going, job, found)
        del self._going[going.job_id]

    def _give_up(self, going: Going, found: Verdict) -> None:
        """Answer for a process that broke down, to the hub too; it is finished at a later look."""
        with contextlib.suppress(OSError):
            going.folder.finish(found.output)
        secrets = self._vault.read(going.job_id)
        secrets.pop(WEBHOOK, None)
        work = self._work
        going.tell_the_hub(lambda: say_failed(going.folder, secrets, work.environ, work.command))

    def _finish(self, going: Going, found: Verdict) -> None:
        output = with_lost(found.output, going.lost) if found.state is State.FAILED else found.output
        self._store.finish(going.job_id, found.state, output)
        self._not_before.pop(going.job_id, None)
        job = self._store.get(going.job_id)
        if job is not None and job.state is State.COMPLETED:  # not where it was called off, or sent again
            self._vault.drop_all_but_webhook(going.job_id)

    def _interrupt(self, going: Going, job: Job | None, found: Verdict) -> None:
        until = self._store.now()
        if going.process is None and job is not None:  # it may have ended long before
            until = float((going.progress or {}).get("t") or job.started or until)
        self._store.interrupt(going.job_id, until=until, counts=found.counts)
        if found.counts and job is not None:
            self._not_before[job.id] = time.monotonic() + self._work.restart_s * (job.restarts + 1)

    def _fill(self) -> None:
        busy = {going.slot for going in self._going.values()}
        late = [job_id for job_id, moment in self._not_before.items() if moment > time.monotonic()]
        for slot, environment in enumerate(self._work.slots):
            if slot in busy or self._closing.is_set():
                continue
            job = self._store.next_for(slot, late)
            if job is None:
                return
            self._start(job, slot, environment)

    def _start(self, job: Job, slot: int, environment: Mapping[str, str]) -> None:
        folder = JobFolder(self._places.job(job.id))
        secrets = self._vault.read(job.id)
        lost = tuple(path for path in job.held if path not in secrets)
        secrets.pop(WEBHOOK, None)
        try:
            folder.make(job.id, self._store.input_of(job.id))
            environ = {**self._work.environ, **environment}
            attempt, process = start(folder, secrets, environ, self._work.command)
        except OSError as problem:
            self._store.finish(job.id, State.FAILED, failed(plain_os_error(problem)))
            return
        self._going[job.id] = Going(job.id, slot, folder, attempt, job.started or 0.0, process, lost)


def with_lost(output: Any, lost: Sequence[str]) -> Any:  # noqa: ANN401 - any JSON value
    """Return the answer of a job that failed, with what may be to blame: secrets that are gone."""
    if not lost or not isinstance(output, dict):
        return output
    said = (
        f"{output.get('error', 'The job failed.')} The request's secrets ({', '.join(lost)}) were lost with the "
        'container that kept them: bring them again with POST /retry/ID {"input": {...}}.'
    )
    return output | {"error": said}
