"""Carrying the queue out: each job is started by a process of its own, its runs are looked at until they end."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from musabi.errors import ExitCode
from musabi.job.gpus import ORDER, VISIBLE
from musabi.job.queue import QUEUED, JobState, Queue, QueuedJob
from musabi.job.record import (
    GOING_ON,
    ODD,
    RunFolder,
    RunRecord,
    RunState,
    process_start,
    readable_runs,
)

POLL_SECONDS = 0.5
GONE = "Its process is gone without a word: killed, out of memory, or with a full disk"
WORST_FIRST = (RunState.INTERRUPTED, RunState.FAILED, RunState.STOPPED, RunState.DONE)
STATE_OF = {RunState.DONE: JobState.DONE, RunState.STOPPED: JobState.STOPPED}


class QueueRun:
    """Carries a queue out. `places` are the GPUs to give a job each, or (None,): all of them to one at a time.

    `start` is the command that starts a job, its file comes behind it; `tell` is given each job as it begins
    and ends, `look` those that go on, about twice a second, `warn` what the disk refused: that is tried again.
    """

    def __init__(
        self,
        queue: Queue,
        runs_folder: Path,
        start: Sequence[str],
        environ: Mapping[str, str],
        *,
        places: Sequence[str | None] = (None,),
        tell: Callable[[QueuedJob], None] = lambda _job: None,
        look: Callable[[list[QueuedJob]], None] = lambda _jobs: None,
        warn: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.queue = queue
        self.runs_folder = runs_folder
        self.start = tuple(start)
        self.environ = dict(environ)
        self.places = tuple(places)
        self.tell = tell
        self.look = look
        self.warn = warn
        self.going: list[QueuedJob] = []
        self.ended: list[QueuedJob] = []
        self._starters: dict[int, subprocess.Popen[bytes]] = {}
        self._taken_up = False
        self._warned = ""

    def carry_out(self) -> list[QueuedJob]:
        """Carry the queue out until nothing waits and nothing runs; return the jobs that ended, in that order."""
        while True:
            try:
                self._poll()
                if not self.going:
                    return self.ended
                self.look(self.going)
            except OSError as problem:  # a job may be half begun, so what runs is looked at anew
                self._taken_up = False
                self._warn(problem)
            time.sleep(POLL_SECONDS)

    def _poll(self) -> None:
        if not self._taken_up:
            self._take_up()
            self._taken_up = True
        for job in list(self.going):
            self._look_at(job)
        self._fill()

    def _warn(self, problem: OSError) -> None:
        """Say what is wrong, once until it changes."""
        if str(problem) == self._warned:
            return
        self._warned = str(problem)
        with contextlib.suppress(OSError):  # a terminal that is gone must not end the queue
            self.warn(
                f"WARNING: The queue goes on, but met a problem: {problem}. It looks again in a moment."
            )

    def _take_up(self) -> None:
        """See to the jobs that ran when the process before this one was ended."""
        known = [job.number for job in self.going]
        for job in self.queue.jobs():
            if job.state is not JobState.RUNNING or job.number in known:
                continue
            newest = self._newest_runs(job)
            if self._is_starting(job) or any(record.state in GOING_ON for record in newest):
                self.going.append(job)
            elif newest and all(record.state is not RunState.INTERRUPTED for record in newest):
                self._settle(job, newest)
            else:
                job.state, job.again = JobState.WAITING, True
                self.queue.save(job)

    def _fill(self) -> None:
        """Start the next jobs where there is a place for them."""
        taken = [job.gpu for job in self.going]
        free = [place for place in self.places if place not in taken]
        if None in taken:  # a job that may use every GPU
            return
        for job in self.queue.jobs():
            if not free:
                return
            if job.state is JobState.WAITING:
                begun = self.queue.begin(job.number, free[0])
                if begun is not None:
                    free.pop(0)
                    self._begin(begun)

    def _begin(self, job: QueuedJob) -> None:
        own = {} if job.gpu is None else {VISIBLE: job.gpu, **ORDER}
        argv = [*self.start, str(self.queue.job_file(job)), "--detach", "--wait"]
        argv += [] if job.gpu is None else ["--gpus", "all"]
        argv += ["--continue", "--overwrite"] if job.again else []
        with self.queue.log_file(job).open("wb") as log:
            process = subprocess.Popen(
                argv,
                env=self.environ | own | {QUEUED: "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._starters[job.number] = process
        self.going.append(job)
        job.starter = (process.pid, process_start(process.pid))
        self.queue.save(job)
        self.tell(job)

    def _look_at(self, job: QueuedJob) -> None:
        """See whether a job has ended."""
        if self._is_starting(job):
            return
        code = self._exit_code_of_starter(job)
        if code:
            self._end(job, JobState.FAILED, code, last_error(self.queue.log_file(job)))
            return
        if not job.runs:
            job.runs = [record.id for record in self._newest_runs(job)]
            self.queue.save(job)
        records = [record for name in job.runs if (record := self._record(name)) is not None]
        if all(record.state not in GOING_ON for record in records):
            self._settle(job, records)

    def _settle(self, job: QueuedJob, records: Sequence[RunRecord]) -> None:
        """Note how a job ended whose runs have ended: as the worst of them."""
        if not records:
            what = "The record of its run is gone or no record" if job.runs else "No run was started"
            said = f"{what}. See {self.queue.log_file(job)}"
            self._end(job, JobState.FAILED, ExitCode.TRAINER_FAILED, said)
            return
        worst = min(records, key=lambda record: WORST_FIRST.index(record.state))
        gone = worst.state is RunState.INTERRUPTED
        code = ExitCode.TRAINER_FAILED if worst.exit_code is None else worst.exit_code
        job.runs = [record.id for record in records]
        self._end(job, STATE_OF.get(worst.state, JobState.FAILED), code, GONE if gone else worst.message)

    def _end(self, job: QueuedJob, state: JobState, code: int, message: str | None) -> None:
        job.state, job.exit_code, job.message, job.ended = state, int(code), message, time.time()
        self.queue.save(job)
        self.going = [other for other in self.going if other.number != job.number]
        self.ended.append(job)
        self.tell(job)

    def _is_starting(self, job: QueuedJob) -> bool:
        process = self._starters.get(job.number)
        if process is not None:
            return process.poll() is None
        if job.starter is None:
            return False
        pid, started = job.starter
        return started is not None and process_start(pid) == started

    def _exit_code_of_starter(self, job: QueuedJob) -> int | None:
        """Return it, or None where the process was not started by this one."""
        process = self._starters.get(job.number)
        return None if process is None else process.returncode

    def _newest_runs(self, job: QueuedJob) -> list[RunRecord]:
        """Return the newest run of each name that is this job's."""
        found = [record for _, record in readable_runs(self.runs_folder, skip=ODD)]
        return newest_of_each(reversed(found), job)

    def _record(self, name: str) -> RunRecord | None:
        """Return the record of a run, or None where it is gone or is none."""
        try:
            return RunFolder(self.runs_folder / name).load()
        except ODD:
            return None


def newest_of_each(records: Iterable[RunRecord], job: QueuedJob) -> list[RunRecord]:
    """Return of the records, oldest first, the last of each name that is the job's."""
    found = {str(record.job["output_name"]): record for record in records if job.owns(record)}
    return list(found.values())


def last_error(log: Path) -> str:
    """Return what was said last in the log of a job's start, without the word before it."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        lines = []
    errors = [line for line in lines if line.startswith("Error: ")]
    return errors[-1].removeprefix("Error: ") if errors else f"It could not be started. See {log}"
