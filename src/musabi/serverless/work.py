"""The process that does one job: `python -m musabi.serverless.work JOB_FOLDER`.

Contract. The request's secrets come as one JSON object on standard input and stay in memory. The job folder holds
the request; this process replaces progress.json as it goes, notes each phase that is done in phases.json, and
writes result.json last. Started again on the same folder it goes on: no phase is done twice, and a training goes
on from its newest state. SIGTERM, or stop.json in the folder, ends it with the trainer's state saved. It exits
with 0 where an answer was written, success or failure, with 130 where it was ended without one, and with 75 where
another process is at work on the job.

With --say-failed behind the folder it only tells the hub of the failure in result.json: whoever started the process
that was killed wrote it.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from musabi.serverless.attempt import HELD, SAY_FAILED
from musabi.serverless.job_folder import JobFolder

LOOK_SECONDS = 0.5


def main() -> int:
    """Do the job of the folder on the command line."""
    folder = JobFolder(Path(sys.argv[1]))
    secrets = read_secrets(sys.stdin.buffer.read())
    if SAY_FAILED in sys.argv[2:]:
        return say_failed(folder, secrets)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    signal.signal(signal.SIGINT, lambda _number, _frame: stop.set())
    with folder.alone(on_lost=stop.set) as mine:
        if not mine:
            print("Another process is at work on this job.", file=sys.stderr)
            return HELD
        threading.Thread(target=watch_for_stop, args=(folder, stop), daemon=True).start()
        from musabi.serverless.course import Course

        return Course(folder, secrets, os.environ, stop).run()


def say_failed(folder: JobFolder, secrets: Mapping[str, str]) -> int:
    """Tell the hub of a failure that this job's own process could not tell of."""
    from musabi.serverless.course import Course

    return Course(folder, secrets, os.environ, threading.Event()).say_failed()


def read_secrets(given: bytes) -> dict[str, str]:
    """Return the secrets that came on standard input; nothing stands for none."""
    values = json.loads(given or b"{}")
    return {str(name): str(value) for name, value in values.items()} if isinstance(values, Mapping) else {}


def watch_for_stop(folder: JobFolder, stop: threading.Event) -> None:
    """Set `stop` once stop.json lies in the folder."""
    while not stop.wait(LOOK_SECONDS):
        with contextlib.suppress(OSError):  # a volume that stutters: looked at again
            if folder.asked_to_stop() is not None:
                stop.set()


if __name__ == "__main__":
    sys.exit(main())
