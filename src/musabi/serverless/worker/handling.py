"""One job as Runpod delivers it: from its delivery to its answer. Knows nothing of Runpod's SDK.

The work is done by a process in a session of its own, so this only looks on: the SDK's event loop stays free and
sees a cancellation at once. A job that Runpod ends (cancelled, timed out) has its state saved and its processes
ended before the worker is free again; nothing is answered for it. The same job delivered again, by /retry or
because a worker went away, goes on from its folder on the volume.
"""

import asyncio
import contextlib
import subprocess
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from musabi.children import is_secret_name, scrub
from musabi.errors import ExitCode, MusabiError
from musabi.job.os_errors import plain_os_error
from musabi.serverless import attempt
from musabi.serverless.answers import WHY, failed
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.places import Places
from musabi.serverless.request.mistakes import Refused
from musabi.serverless.request.secrets import split_secrets
from musabi.serverless.worker.doubt import doubt
from musabi.serverless.worker.posts import EVERY_SECONDS, Post, Posts

Result = TypeVar("Result")
POLL_SECONDS = 0.2
ENDED_BY_RUNPOD = "ended_by_runpod"
"""Runpod's stop signal does not say whether a job was cancelled or timed out."""
NO_INPUT = 'The job\'s input is no JSON object. Send {"input": {"model_type": ...}}.'
WITHOUT_ANSWER = {
    -9: "The job's process was killed, most likely for want of main memory.",
}


@dataclass(frozen=True)
class Handling:
    """How a worker does jobs. Call it with a job as Runpod delivers it; it returns the answer.

    `post` is Runpod's progress_update. `ending` is set when the worker itself shall end. `patience_s` is how long
    a trainer may take to save its state. `end_worker` is called where a job that was ended left the worker in doubt.
    """

    places: Places
    environ: Mapping[str, str]
    post: Post
    command: Sequence[str] = attempt.COMMAND
    ending: threading.Event = field(default_factory=threading.Event)
    every_s: float = EVERY_SECONDS
    patience_s: float = attempt.SAVE_SECONDS
    end_worker: Callable[[], None] = lambda: None
    say: Callable[[str], None] = lambda text: print(text, flush=True)

    async def __call__(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Do a job; whatever goes wrong becomes the answer, in plain words.

        Raises:
            asyncio.CancelledError: Runpod ended the job, or the worker ends; its state is saved.
        """
        job_id = str(job["id"])
        given: dict[str, str] = {}
        try:
            if not isinstance(job.get("input"), Mapping):
                return failed(NO_INPUT)
            request, given = split_secrets(job["input"])
            return await self._work(JobFolder(self.places.job(job_id)), job_id, request, given)
        except Refused as refused:
            return refused.answer()
        except MusabiError as problem:
            return failed(scrub(str(problem), given.values()))
        except OSError as problem:
            return failed(plain_os_error(problem))
        except Exception as problem:
            self.say(scrub(traceback.format_exc(), given.values()))
            return failed(
                f"Something unexpected went wrong ({type(problem).__name__}). It stands in the worker's log. "
                "Please report it."
            )

    async def _work(
        self, folder: JobFolder, job_id: str, request: dict[str, Any], given: Mapping[str, str]
    ) -> dict[str, Any]:
        await to_its_end(partial(end_earlier, folder))
        posts, waited = Posts(self.post, job_id, self.every_s), False
        while (answer := await self._of_another(folder, waited)) is None:
            await to_its_end(partial(clear, folder, request))
            folder.make(job_id, request)
            code = await self._try(folder, given, posts)
            if not (waited := is_of_another(folder, code)):
                return await to_its_end(partial(self._answer, folder, code, posts, given))
        return answer

    async def _try(self, folder: JobFolder, given: Mapping[str, str], posts: Posts) -> int:
        """Start the job's process and look on until it has ended; return its exit code.

        Raises:
            asyncio.CancelledError: Runpod ended the job, or the worker ends; its state is saved.
        """
        tried, process = attempt.start(folder, given, job_environment(self.environ), self.command)
        self.say(f"Job {folder.job_id}: {'goes on' if folder.phases() else 'begins'} in {folder.path}.")
        end = partial(self._end, folder, tried, process, given)
        try:
            while process.poll() is None and not self.ending.is_set():
                with contextlib.suppress(OSError):  # a volume that stutters: looked at again
                    posts.look(folder.progress())
                await asyncio.sleep(POLL_SECONDS)
        except Exception:
            await to_its_end(partial(end, "shutdown"))
            raise
        except asyncio.CancelledError:
            await to_its_end(partial(end, ENDED_BY_RUNPOD))
            self.say(f"Job {folder.job_id}: ended by Runpod. Its state is in {folder.path}.")
            raise
        if process.poll() is None:
            await to_its_end(partial(end, "shutdown"))
            if folder.result() is None:
                self.say(f"Job {folder.job_id}: the worker ends. Its state is in {folder.path}.")
                raise asyncio.CancelledError  # no answer: another worker goes on with it
        return process.wait()

    async def _of_another(self, folder: JobFolder, waited: bool) -> dict[str, Any] | None:
        """Wait while another worker is at work on the job, which Runpod delivered twice; return its answer.

        None where there was none, or it ended without an answer: the job is this worker's. `waited`: it was
        waited for before, and a third worker was the first to go on.

        Raises:
            asyncio.CancelledError: Runpod ended the job, or this worker ends.
        """
        while folder.path.is_dir() and await to_its_end(folder.is_held):
            if not waited:
                self.say(f"Job {folder.path.name}: another worker is at work on it; waiting for it.")
            waited = True
            if self.ending.is_set():
                raise asyncio.CancelledError
            await asyncio.sleep(POLL_SECONDS)
        return folder.result() if waited else None

    def _answer(self, folder: JobFolder, code: int, posts: Posts, given: Mapping[str, str]) -> dict[str, Any]:
        attempt.end_left_behind(folder, self.patience_s)
        answer = folder.result() or self._answer_for_it(folder, without_answer(code, folder), given)
        doubtful = doubt(folder, answer)
        posts.settle()
        self.say(f"Job {folder.job_id}: {answer.get('error') or answer['status']}")
        if doubtful is None:
            return answer
        self.say(f"Runpod is asked to replace this worker: {doubtful}.")
        return answer | {"refresh_worker": True}

    def _answer_for_it(self, folder: JobFolder, error: str, given: Mapping[str, str]) -> dict[str, Any]:
        """Answer for a job whose process was killed, to the hub too."""
        answer = failed(error)
        with contextlib.suppress(OSError):
            folder.finish(answer)
        attempt.say_failed(folder, given, job_environment(self.environ), self.command)
        return answer

    def _end(
        self,
        folder: JobFolder,
        tried: attempt.Attempt,
        process: subprocess.Popen[bytes],
        given: Mapping[str, str],
        why: str,
    ) -> None:
        """End a job with its state saved. A worker in doubt ends with it: there is no answer to say so in."""
        attempt.end(folder, tried, why, self.patience_s)
        process.poll()
        if why == ENDED_BY_RUNPOD and folder.result() is None:
            self._answer_for_it(folder, WHY[ENDED_BY_RUNPOD], given)
        doubtful = doubt(folder, {})
        if doubtful is not None:
            self.say(f"This worker ends: {doubtful}.")
            self.end_worker()


def end_earlier(folder: JobFolder) -> None:
    """End an earlier try at the job in this very container."""
    last = attempt.last_attempt(folder)
    if last is not None and last.is_alive:
        attempt.end(folder, last, "shutdown")


def clear(folder: JobFolder, request: Mapping[str, Any]) -> None:
    """Make way for a job: what came of another input is put aside.

    Raises:
        OSError: the folder can't be moved.
    """
    folder.progress_file.unlink(missing_ok=True)  # of the earlier try
    if folder.request_file.exists() and folder.request != request:
        number = 1
        while (aside := folder.path.with_name(f"{folder.path.name}.earlier-{number}")).exists():
            number += 1
        folder.path.rename(aside)


def is_of_another(folder: JobFolder, code: int) -> bool:
    """Tell whether a process ended with `code` because another worker's is at work on the job."""
    if folder.result() is not None:
        return False
    return code == attempt.HELD or (code == ExitCode.INTERRUPTED and folder.is_held())


def without_answer(code: int, folder: JobFolder) -> str:
    """Return the sentence for a process that ended without an answer; `code` is its exit code."""
    said = WITHOUT_ANSWER.get(code, f"The job's process ended without an answer (exit code {code}).")
    return f"{said} Its log is {folder.log_file}; /retry goes on where it was."


def job_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what only the worker needs: Runpod's keys, and addresses that hold them."""
    return {name: value for name, value in environ.items() if not is_of_the_worker(name)}


def is_of_the_worker(name: str) -> bool:
    """Tell whether a variable is for the worker alone."""
    return name.startswith("RUNPOD_WEBHOOK") or (name.startswith("RUNPOD_") and is_secret_name(name))


async def to_its_end(work: Callable[[], Result]) -> Result:
    """Do something in a thread and wait for its end, even where this task is cancelled meanwhile.

    Raises:
        asyncio.CancelledError: it was cancelled; the work is done all the same.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return task.result()
