"""One try at a job: the process that does the work, how it is started, looked up and ended.

The process has a session of its own and is known by a mark in its environment, which all that it starts inherit:
trainers start processes in sessions of their own, and ending a process group would leave those on the GPU.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from musabi.identity import identity
from musabi.job.launch import STOP_SECONDS, ask_to_stop
from musabi.job.marked import end_marked, marked
from musabi.job.record import going_on, process_start
from musabi.serverless.job_folder import JobFolder
from musabi.whole import read_json, write_json

MARK = "MUSABI_ENDPOINT_JOB"
COMMAND = (sys.executable, "-P", "-m", "musabi.serverless.work")
SAVE_SECONDS = STOP_SECONDS + 30.0
"""How long a job that was asked to end may take: its run may save for STOP_SECONDS, then it answers."""
TERM_SECONDS = 5.0
HELD = 75
"""The exit code of the job's program where another process is at work on the job (EX_TEMPFAIL of sysexits.h)."""
SAY_FAILED = "--say-failed"
"""What the job's program is told to tell the hub of a failure, and no more."""
SAY_SECONDS = 30.0


@dataclass(frozen=True)
class Attempt:
    """The process at work on a job: its id, when it started (clock ticks since boot), and its container."""

    pid: int
    started: float | None
    container: str

    @property
    def is_alive(self) -> bool:
        """Tell whether this very process still runs. One of another container can't be looked up, and is not."""
        here = self.container == identity() and self.started is not None
        return here and process_start(self.pid) == self.started


def start(
    folder: JobFolder,
    secrets: Mapping[str, str],
    environ: Mapping[str, str],
    command: Sequence[str] = COMMAND,
) -> tuple[Attempt, subprocess.Popen[bytes]]:
    """Start the process that does the job; the request's secrets go to its standard input, and nowhere else.

    Raises:
        OSError: it can't be started.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.log_file.open("ab") as log:
        process = subprocess.Popen(
            [*command, str(folder.path)],
            env=dict(environ) | {MARK: mark_of(folder)},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    attempt = Attempt(process.pid, process_start(process.pid), identity())
    try:
        write_json(folder.attempt_file, asdict(attempt))
    except OSError:
        process.kill()  # nobody would find it again
        process.wait()
        raise
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(dict(secrets)).encode())
            process.stdin.close()
    return attempt, process


def last_attempt(folder: JobFolder) -> Attempt | None:
    """Return the newest try at a job, by whichever process it was started."""
    values = read_json(folder.attempt_file)
    with contextlib.suppress(TypeError):
        return Attempt(**values)
    return None


def end(folder: JobFolder, attempt: Attempt, why: str, patience_s: float = SAVE_SECONDS) -> None:
    """Ask the job to end with its state saved; after `patience_s` seconds end all of its processes."""
    try:
        folder.ask_to_stop(why)
    except OSError:  # a full disk: the process is told, not why
        if attempt.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(attempt.pid, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while attempt.is_alive and time.monotonic() < deadline:
        time.sleep(0.1)
    end_processes(folder)


def end_processes(folder: JobFolder) -> None:
    """End every process that bears the job's mark: SIGTERM, a moment later SIGKILL."""
    end_marked(MARK, mark_of(folder), TERM_SECONDS)


def end_left_behind(folder: JobFolder, patience_s: float = SAVE_SECONDS) -> None:
    """End what a job's process left behind that is gone. A run that nobody asked to end saves its state first.

    Where main memory ran out, the kernel may have killed the job's process alone.
    """
    unasked = folder.result() is None and folder.asked_to_stop() is None and folder.space.runs.is_dir()
    deadline = time.monotonic() + patience_s
    with contextlib.suppress(OSError):  # a full disk: the run is told by a signal, and has a moment
        while unasked and (going := going_on(folder.space.runs)) and any(processes_of(folder)):
            for run in going:
                if not run.stop_file.exists():
                    ask_to_stop(run)
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
    end_processes(folder)


def say_failed(
    folder: JobFolder,
    secrets: Mapping[str, str],
    environ: Mapping[str, str],
    command: Sequence[str] = COMMAND,
) -> None:
    """Tell the hub of the answer in the folder, for a job whose process was killed before it could.

    A short process of its own does it, with the secrets on its standard input, in at most SAY_SECONDS. It is left
    out where it can't be started: the answer is given all the same.
    """
    with contextlib.suppress(OSError, subprocess.TimeoutExpired), folder.log_file.open("ab") as log:
        subprocess.run(
            [*command, str(folder.path), SAY_FAILED],
            env=dict(environ) | {MARK: mark_of(folder)},
            input=json.dumps(dict(secrets)).encode(),
            stdout=log,
            stderr=log,
            start_new_session=True,
            timeout=SAY_SECONDS,
            check=False,
        )


def processes_of(folder: JobFolder) -> Iterator[int]:
    """Return the ids of the processes that bear the job's mark and have not ended."""
    return marked(MARK, mark_of(folder))


def mark_of(folder: JobFolder) -> str:
    """Return what a job's processes bear in their environment: where its folder is."""
    return str(folder.path)
