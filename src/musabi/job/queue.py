"""Jobs that wait for their turn: one small file a job under the workspace's state, numbered as they were added.

Beside each lies a copy of its job file, so that what is edited later changes nothing, and a log of its start.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from musabi.errors import RequestError
from musabi.job.record import RunRecord
from musabi.whole import read_json, write_json, write_text
from musabi.workspace import Workspace

# Set for the runs that the queue starts: what becomes of the pod is decided at the queue's end.
QUEUED = "MUSABI_QUEUED"


class JobState(StrEnum):
    """Where a job of the queue stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class QueuedJob(BaseModel):
    """One job. Times are Unix seconds.

    `each`: it starts one run a GPU, where it is not given one. `again`: it was cut off, and goes on from what it
    left. `starter` is (pid, start in clock ticks) of the process that starts its run; `runs` are the runs that it
    was given, `gpu` is the GPU that it was given, as CUDA_VISIBLE_DEVICES calls it.
    """

    number: int = Field(ge=1)
    output_name: str
    source: Path
    each: bool = False
    again: bool = False
    state: JobState = JobState.WAITING
    added: float = Field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    starter: tuple[int, float | None] | None = None
    gpu: str | None = None
    runs: list[str] = []
    exit_code: int | None = None
    message: str | None = None

    def owns(self, record: RunRecord) -> bool:
        """Tell whether a training is this job's: by its name and time."""
        name = str(record.job.get("output_name", ""))
        several = self.each and self.gpu is None
        mine = name.startswith(f"{self.output_name}-seed") if several else name == self.output_name
        began = self.started is not None and record.created >= self.started
        return mine and began and bool(record.plan.get("schedule"))

    def describe(self) -> str:
        """Return the job as a line."""
        where = f" on GPU {self.gpu}" if self.gpu is not None and self.state is JobState.RUNNING else ""
        said = f". {self.message}" if self.message else ""
        return f"{self.number:04d}  {self.state.value:<8}{self.output_name}{where}{said}"


class Queue:
    """The queue in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def jobs(self) -> list[QueuedJob]:
        """Return the jobs in the order in which they were added; a file that is none is passed over."""
        found = []
        for path in self.folder.glob("[0-9]*.json"):
            try:
                found.append(QueuedJob.model_validate(read_json(path)))
            except ValidationError:
                continue
        return sorted(found, key=lambda job: job.number)

    def add(self, output_name: str, source: Path, text: str, *, each: bool = False) -> QueuedJob:
        """Put a job at the end of the queue; `text` is its job file, with full paths.

        Raises:
            RequestError: a job of that name is in the queue and was not begun, or runs.
        """
        with self._locked("change.lock"):
            known = self.jobs()
            for other in known:
                if other.output_name == output_name and other.state in (JobState.WAITING, JobState.RUNNING):
                    raise RequestError(
                        f"Job {other.number} of the queue has the OUTPUT_NAME {output_name} already. "
                        "Give this one another with --name."
                    )
            number = max((job.number for job in known), default=0) + 1
            job = QueuedJob(number=number, output_name=output_name, source=source, each=each)
            write_text(self.job_file(job), text, 0o600)
            self.save(job)
        return job

    def job(self, number: int) -> QueuedJob:
        """Return the job of that number.

        Raises:
            RequestError: there is none.
        """
        for job in self.jobs():
            if job.number == number:
                return job
        raise RequestError(f"There is no job {number} in the queue. See: musabi queue list")

    def save(self, job: QueuedJob) -> None:
        """Replace a job's file."""
        write_json(self.folder / f"{job.number:04d}.json", job.model_dump(mode="json"))

    def begin(self, number: int, gpu: str | None) -> QueuedJob | None:
        """Note that a job is started now; None where it was removed or begun meanwhile."""
        with self._locked("change.lock"):
            job = next((job for job in self.jobs() if job.number == number), None)
            if job is None or job.state is not JobState.WAITING:
                return None
            job.state, job.gpu, job.runs = JobState.RUNNING, gpu, []
            job.started = job.started or time.time()
            self.save(job)
        return job

    def remove(self, number: int) -> QueuedJob:
        """Take a job out of the queue; its runs and results stay.

        Raises:
            RequestError: there is no such job, or it is running.
        """
        with self._locked("change.lock"):
            job = self.job(number)
            if job.state is JobState.RUNNING:
                raise RequestError(f"Job {number} is running. End it first with: musabi stop")
            for path in (self.folder / f"{number:04d}.json", self.job_file(job), self.log_file(job)):
                path.unlink(missing_ok=True)
        return job

    def job_file(self, job: QueuedJob) -> Path:
        """Return where the copy of a job's file lies."""
        return self.folder / f"{job.number:04d}.toml"

    def log_file(self, job: QueuedJob) -> Path:
        """Return where lies what was said while a job was started."""
        return self.folder / f"{job.number:04d}.log"

    @contextmanager
    def carried_out(self, *, wait: bool = True) -> Iterator[bool]:
        """Be the one who carries the queue out; yields False where another is and `wait` is off.

        The kernel drops the lock with its holder.
        """
        with self._lock_file("run.lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with self._lock_file(name) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _lock_file(self, name: str) -> Iterator[int]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / name).open("w") as file:
            yield file.fileno()


def folder_of(space: Workspace) -> Path:
    """Return the folder of a workspace's queue."""
    return space.state / "queue"


def is_carried_out(space: Workspace) -> bool:
    """Tell whether a process carries the workspace's queue out."""
    try:
        with (folder_of(space) / "run.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
