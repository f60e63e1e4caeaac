"""Starting a run as a process of its own, and asking it to stop.

The runner is forked, not started anew: the plan is already in memory, and a second interpreter
would cost the trainer a third of a second before its first line.
"""

import fcntl
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from musabi.job.claims import Claim, InTheWay, claim_of, in_the_way
from musabi.job.engine import Engine
from musabi.job.record import RunFolder, RunRecord, RunState, going_on
from musabi.job.runner import Runner
from musabi.stamped import stamped_folder
from musabi.whole import write_json

After = Callable[[RunFolder, RunState], None]


def new_run_folder(runs: Path, output_name: str) -> RunFolder:
    """Make the folder of a new run: the output name and the local time, never one that is there."""
    too_many = f"{runs} has too many runs of {output_name} in one second."
    return RunFolder(stamped_folder(runs, f"{output_name}-", too_many))


def start_detached(folder: RunFolder, record: RunRecord, engine: Engine, after: After | None = None) -> int:
    """Save the record and start its runner in a session of its own. Return the runner's pid.

    `after` is called in the runner's process when the run has ended, well or not, with how it ended: a full
    disk may have kept that out of the record.
    """
    folder.save(record)
    folder.log_file.touch()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _become_runner(folder, engine, after)
    return pid


# How long one waits for a run that was asked to stop: a state of the full model takes a while to write.
STOP_SECONDS = 330.0


def ask_to_stop(folder: RunFolder, *, after_save: bool = False) -> None:
    """Leave the request that the runner looks for."""
    write_json(folder.stop_file, {"after_save": after_save, "asked": time.time()})


@contextmanager
def one_start_at_a_time(runs: Path) -> Iterator[None]:
    """Hold a lock while a run is being started, so that two starts can't both find the same GPU free.

    flock(2) and not the filelock package, whose import would make every trainer wait longer.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / ".starting.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def require_free(runs: Path, claim: Claim, beside: Sequence[Claim] = ()) -> None:
    """Raise InTheWay where a run of this workspace that goes on, or one `beside`, has what the new one needs."""
    for other in (*(claim_of(folder.load()) for folder in going_on(runs)), *beside):
        reason = in_the_way(claim, other)
        if reason is not None:
            raise InTheWay(reason)


def require_ended(runs: Path, output_name: str) -> None:
    """Raise InTheWay where a run of that name is still going on."""
    for folder in going_on(runs):
        if folder.load().job.get("output_name") == output_name:
            raise InTheWay(
                f"{folder.path.name} is still running. Watch it with: musabi logs -f. "
                f"End it with: musabi stop --run {folder.path.name}."
            )


def _become_runner(folder: RunFolder, engine: Engine, after: After | None) -> None:
    """Turn this forked process into the runner. Never returns."""
    code = 1
    try:
        os.setsid()
        _redirect(folder.log_file)
        runner = Runner(folder, engine)
        code = int(runner.run())
        if after is not None:
            after(folder, runner.record.state)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _redirect(log: Path) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
