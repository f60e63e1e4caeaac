"""The endpoint as a worker of Runpod Serverless: Runpod's SDK takes the jobs, `Handling` does them.

The SDK is imported here alone: it costs 1.4 s and a hundred packages. What it does by itself: it asks the platform
for jobs and for jobs to stop (a stopped job's handler is cancelled, and nothing is answered for it), sends the
heartbeat from a process of its own, runs the fitness checks, and ends on SIGTERM once the running job's handler has
ended. (runpod 1.12.0, serverless/modules/rp_scale.py, rp_job.py)
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from musabi.errors import RequestError
from musabi.serverless.attempt import COMMAND, SAVE_SECONDS
from musabi.serverless.missing_package import missing_package
from musabi.serverless.places import places
from musabi.serverless.settings import load
from musabi.serverless.worker.fitness import checks
from musabi.serverless.worker.handling import Handling
from musabi.serverless.worker.old_jobs import remove_old_jobs
from musabi.serverless.worker.posts import EVERY_SECONDS
from musabi.settings import load as pod_settings

JOB_TAKE = "RUNPOD_WEBHOOK_GET_JOB"
LOG_LEVELS = ("RUNPOD_LOG_LEVEL", "RUNPOD_DEBUG_LEVEL")
ENDS = (signal.SIGTERM, signal.SIGINT)


def serve(
    environ: Mapping[str, str],
    command: Sequence[str] = COMMAND,
    every_s: float = EVERY_SECONDS,
    patience_s: float = SAVE_SECONDS,
) -> None:
    """Do Runpod's jobs until the worker is ended. `command` is what does one, given its folder.

    Raises:
        RequestError: this is no worker of Runpod's, or a setting is wrong.
        MachineError: Runpod's SDK is not installed.
    """
    if not environ.get(JOB_TAKE):
        raise RequestError(
            f"This is not a Runpod worker: {JOB_TAKE} is not set. On a machine of your own use musabi serve."
        )
    place = places(pod_settings(environ).workspace, load(environ).endpoint_root)
    runpod = sdk()
    ending = threading.Event()
    for check in checks(place, environ):
        runpod.serverless.register_fitness_check(check)
    keep_s = load(environ).endpoint_keep_hours * 3600
    threading.Thread(target=remove_old_jobs, args=(place, keep_s), name="old jobs", daemon=True).start()
    handling = Handling(
        place,
        dict(environ),
        runpod.serverless.progress_update,
        command,
        ending,
        every_s,
        patience_s,
        end_worker=lambda: os.kill(os.getpid(), signal.SIGTERM),
    )

    async def handler(job: dict[str, Any]) -> dict[str, Any]:
        """Do a job; the SDK awaits this."""
        tell_of_the_end(ending)
        return await handling(job)

    sys.argv = sys.argv[:1]  # the SDK reads it, and has options that would answer to anybody
    runpod.serverless.start({"handler": handler})


def sdk() -> Any:  # noqa: ANN401 - a module without types
    """Return Runpod's SDK, with answers kept out of the worker's log: its own level is DEBUG, which prints them.

    Raises:
        MachineError: it is not installed.
    """
    if not any(os.environ.get(name) for name in LOG_LEVELS):  # read when the SDK is imported
        os.environ[LOG_LEVELS[0]] = "INFO"
    try:
        import runpod
    except ModuleNotFoundError as missing:
        raise missing_package("worker", str(missing.name)) from None
    return runpod


def tell_of_the_end(ending: threading.Event) -> None:
    """Let a signal that ends the worker set `ending` before the SDK's own handler, which waits for the job.

    To be called while a job is taken: the SDK puts its handlers in place when it starts to take jobs.
    """
    for number in ENDS:
        before = signal.getsignal(number)
        if not isinstance(before, Told):
            signal.signal(number, Told(ending, before if callable(before) else None))


class Told:
    """A signal handler that sets `ending`, then does what was done before it."""

    def __init__(
        self, ending: threading.Event, before: Callable[[int, FrameType | None], Any] | None
    ) -> None:
        self._ending = ending
        self._before = before

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._ending.set()
        if self._before is not None:
            self._before(number, frame)
