"""Verbs for several jobs: queue add, list, remove, run."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from musabi.commands.options import PATHS, Json, Set, job_file_settings, settings_from
from musabi.commands.running import worst
from musabi.commands.show import say, say_json
from musabi.commands.view_several import RunLine
from musabi.errors import ExitCode, RequestError
from musabi.job.gpus import VISIBLE, names, one_each
from musabi.job.preflight import existing_outputs
from musabi.job.queue import JobState, Queue, QueuedJob, folder_of, is_carried_out
from musabi.job.queue_run import QueueRun
from musabi.job.record import RunFolder
from musabi.machine import machine_facts
from musabi.recipes import make_job
from musabi.settings import Settings

QUIET_SECONDS = 30.0
LOG = "log.txt"

queues = typer.Typer(name="queue", help="Several jobs: add, list, remove, run.", no_args_is_help=True)


def add_verb(
    job_file: Annotated[Path, typer.Argument(help="The job: a TOML file with the settings' names.")],
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the LoRA files instead of the job's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Put a job at the end of the queue. What is edited in its file later changes nothing.

    Example: musabi queue add job.toml --name robot_v2
    """
    settings = job_file_settings(job_file, {"output_name": name})
    there = existing_outputs(make_job(settings))
    if there:
        raise RequestError(f"{there[0]} is there already. Give the job another name with --name.")
    queue = Queue(folder_of(settings.space))
    text = own_copy(job_file, name)
    job = queue.add(settings.output_name, job_file.absolute(), text, each=settings.gpus == "each")
    if as_json:
        say_json(job.model_dump(mode="json"))
    else:
        say(f"Job {job.number}: {job.output_name}. Start the queue with: musabi queue run")


def list_verb(pairs: Set = None, as_json: Json = False) -> None:
    """Say which jobs wait, run and ended.

    Example: musabi queue list --json
    """
    settings = settings_from(pairs)
    jobs = Queue(folder_of(settings.space)).jobs()
    going = is_carried_out(settings.space)
    if as_json:
        say_json({"carried_out": going, "jobs": [job.model_dump(mode="json") for job in jobs]})
        return
    for job in jobs:
        say(job.describe())
    if not jobs:
        say("The queue is empty. Add a job with: musabi queue add job.toml")
    elif not going and any(job.state in (JobState.WAITING, JobState.RUNNING) for job in jobs):
        say("Nobody carries the queue out. Start it with: musabi queue run")


def remove_verb(
    numbers: Annotated[list[int] | None, typer.Argument(help="Numbers of musabi queue list.")] = None,
    ended: Annotated[bool, typer.Option("--ended", help="Remove all that ended.")] = False,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Take jobs out of the queue. Their runs and LoRAs stay.

    Example: musabi queue remove 3
    """
    queue = Queue(folder_of(settings_from(pairs).space))
    chosen = list(numbers or [])
    if ended:
        chosen += [job.number for job in queue.jobs() if job.ended is not None]
    if not (chosen or ended):
        raise RequestError("Say which: the numbers of musabi queue list, or --ended.")
    removed = [queue.remove(number) for number in dict.fromkeys(chosen)]
    if as_json:
        say_json({"removed": [job.number for job in removed]})
    else:
        say(
            "\n".join(f"Removed job {job.number}: {job.output_name}." for job in removed)
            or "Nothing ended yet."
        )


def run_verb(
    each_gpu: Annotated[
        bool, typer.Option("--each-gpu", help="As many jobs at a time as there are GPUs, one on each.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Start, and do not look on.")] = False,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Do the jobs of the queue, one after another or one a GPU. One that fails does not stop the next.

    What was interrupted goes on from its newest state. ON_FINISH and ON_ERROR count once the queue is through.

    Example: musabi queue run --each-gpu --detach
    """
    settings = settings_from(pairs)
    places = gpu_places() if each_gpu else (None,)
    queue = Queue(folder_of(settings.space))
    if detach:
        _detach(queue, each_gpu=each_gpu, pairs=pairs)
        return
    try:
        ended = _in_turn(settings, queue, places, as_json=as_json)
    except KeyboardInterrupt:
        say("The queue rests; what runs goes on. Take it up again with: musabi queue run")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if ended:
        raise typer.Exit(worst(job.exit_code or 0 for job in ended))


def gpu_places() -> tuple[str, ...]:
    """Return the GPUs of this machine as CUDA_VISIBLE_DEVICES calls them.

    Raises:
        MachineError: there is none.
    """
    machine, visible = machine_facts(), os.environ.get(VISIBLE)
    return names(len(one_each(machine, visible)), visible)


def own_copy(job_file: Path, name: str | None) -> str:
    """Return the text of a job file with full paths, so that it means the same from any folder."""
    import tomlkit

    document = tomlkit.parse(job_file.read_text(encoding="utf-8"))
    for key, value in document.items():
        if key in PATHS and isinstance(value, str) and value and not value.startswith("~"):
            document[key] = str(job_file.absolute().parent / value)
    if name is not None:
        document["output_name"] = name
    return tomlkit.dumps(document)


def _in_turn(
    settings: Settings, queue: Queue, places: tuple[str | None, ...], *, as_json: bool
) -> list[QueuedJob]:
    """Carry the queue out, once nobody else does, and do with the pod what is asked for then.

    The queue counts as carried out to the very end, so that no run's end stops the pod before its report.
    """
    with queue.carried_out(wait=False) as mine:
        if mine:
            return _carry_out(settings, queue, places, quiet=as_json)
    if not as_json:
        say("Another terminal carries the queue out. This one goes on when that one is through.")
    with queue.carried_out():
        return _carry_out(settings, queue, places, quiet=as_json)


def _carry_out(
    settings: Settings, queue: Queue, places: tuple[str | None, ...], *, quiet: bool
) -> list[QueuedJob]:
    shown = _Shown(settings.space.runs)
    told: dict[str, Any] = {
        "tell": lambda job: say(job.describe()),
        "look": shown.look,
        "warn": say,
    }
    start = (sys.executable, "-P", "-m", "musabi", "run")
    several = QueueRun(
        queue, settings.space.runs, start, os.environ, places=places, **({} if quiet else told)
    )
    ended = several.carry_out()
    if quiet:
        say_json({"jobs": [job.model_dump(mode="json") for job in ended]})
    else:
        say("\n".join(job.describe() for job in ended) or "Nothing waits in the queue.")
    if ended:
        _end_pod(queue, ended, quiet=quiet)
    return ended


class _Shown:
    """Says now and then how the runs of the queue stand."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._lines: dict[str, RunLine] = {}
        self._said = time.monotonic()

    def look(self, jobs: list[QueuedJob]) -> None:
        if time.monotonic() - self._said < QUIET_SECONDS:
            return
        self._said = time.monotonic()
        for name in (name for job in jobs for name in job.runs):
            line = self._lines.setdefault(name, RunLine(RunFolder(self._runs / name)))
            line.look()
            say(f"      {line}")


def _detach(queue: Queue, *, each_gpu: bool, pairs: list[str] | None) -> None:
    argv = [sys.executable, "-P", "-m", "musabi", "queue", "run", *(["--each-gpu"] if each_gpu else [])]
    argv += [word for pair in pairs or () for word in ("--set", pair)]
    queue.folder.mkdir(parents=True, exist_ok=True)
    with (queue.folder / LOG).open("ab") as log:
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    say(f"The queue is being carried out. See: musabi queue list. Its log: {queue.folder / LOG}")


def _end_pod(queue: Queue, ended: list[QueuedJob], *, quiet: bool) -> None:
    """Do what ON_FINISH, or after a failure ON_ERROR, asks for, as the last job says it.

    A job that a person stopped last ends no pod.
    """
    last = max(ended, key=lambda job: job.ended or 0.0)
    from musabi.pod.stopping import ended_by_hand, finish

    outcome: Literal["done", "failed"] = (
        "failed" if any(job.state is JobState.FAILED for job in ended) else "done"
    )
    since = min(job.started or time.time() for job in ended)
    settings = job_file_settings(queue.job_file(last), {})
    if last.state is JobState.STOPPED:
        ended_by_hand(settings, of_queue=True)
        return
    finish(settings, os.environ, outcome, (lambda _text: None) if quiet else say, since=since, of_queue=True)


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    for name, verb in (("add", add_verb), ("list", list_verb), ("remove", remove_verb), ("run", run_verb)):
        queues.command(name)(verb)
    app.add_typer(queues)
