"""GPUS=each: the same training once a GPU, each with its own seed. What they share is made first, once."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import typer
from pydantic import ValidationError

from musabi.commands.ending import announce
from musabi.commands.running import (
    Start,
    Started,
    exit_code_of,
    look_on,
    look_on_all,
    start_runs,
    wait_for_all,
)
from musabi.commands.show import plan_as_text, say, say_json
from musabi.errors import ExitCode, RequestError
from musabi.job.engine import Engine
from musabi.job.facts import Facts
from musabi.job.gpus import VISIBLE, one_each
from musabi.job.model import Job
from musabi.job.plan import Plan, plan_as_json
from musabi.job.record import RunRecord
from musabi.settings import Settings

SEEDS = 2**32
SHARED = ("cache-latents", "cache-text", "adapt")


@dataclass(frozen=True)
class One:
    """One run: everything that a plan for it depends on."""

    settings: Settings
    job: Job
    facts: Facts


Planned = Callable[[One], Start | RunRecord]
"""Plans one of the runs; a record is that of a run which did this very job already."""


def looked(gather: Callable[[], Facts]) -> Callable[[], Facts]:
    """Look at once; return what gives these facts the first time, and looks anew from then on."""
    known = [gather()]
    return lambda: known.pop() if known else gather()


def is_each(settings: Settings) -> bool:
    """Tell whether one run a GPU was asked for."""
    return settings.gpus == "each"


def each_of(settings: Settings, job: Job, facts: Facts, visible: str | None) -> tuple[One, ...]:
    """Return the job once a GPU: NAME-seed42 with seed 42, NAME-seed43 with seed 43, and so on.

    Named by the seed and not by the GPU, since a run may be gone on with on another GPU. `visible` is
    CUDA_VISIBLE_DEVICES.

    Raises:
        MachineError: there is no GPU.
        RequestError: the name is too long for that.
    """
    found = []
    for number, share in enumerate(one_each(facts.machine, visible)):
        seed = (job.seed + number) % SEEDS
        own = {"seed": seed, "output_name": f"{job.output_name}-seed{seed}"}
        try:
            one = Job.model_validate(job.model_dump() | own | {"gpus": 1})
        except ValidationError:
            raise RequestError(
                f"OUTPUT_NAME is too long: with GPUS=each, {own['output_name']} would be the name of a run. "
                "Shorten it."
            ) from None
        part = replace(facts, machine=share.machine, environment=facts.environment | share.environment)
        found.append(One(settings.model_copy(update=own | {"gpus": "1"}), one, part))
    return tuple(found)


def run_each(
    settings: Settings,
    job: Job,
    facts: Callable[[], Facts],
    trainer: Engine,
    planned: Planned,
    *,
    detach: bool = False,
    as_json: bool = False,
) -> None:
    """Make what the runs share, start one run a GPU, and look on until all have ended.

    `facts` gathers them; it is asked again once the caches are made.

    Raises:
        RequestError, MachineError: one of them can't be done, so none is started.
        typer.Exit: one did not end well; the code is the worst of them.
    """
    starts = _planned(settings, job, facts(), planned, quiet=as_json)
    if not starts:
        if as_json:
            say_json({"runs": []})
        return
    if _make_shared(starts[0], job, trainer, as_json=as_json):
        starts = _planned(settings, job, facts(), planned, quiet=True)
    if not as_json:
        say(plan_as_text(starts[0].plan, commands=False))
    announce(settings, quiet=as_json)
    started = start_runs(starts, trainer)
    if not as_json:
        _tell_started(started, starts)
    if detach:
        if as_json:
            say_json({"runs": [{"run": one.record.id, "folder": str(one.folder.path)} for one in started]})
        return
    look_on_all([one.folder for one in started], as_json=as_json)


def show_each(ones: Sequence[One], plan: Callable[[One], Plan], *, as_json: bool) -> None:
    """Print the plan of each of the runs: the dry run."""
    plans = [plan(one) for one in ones]
    if as_json:
        say_json({"runs": [plan_as_json(made) for made in plans]})
        return
    for one, made in zip(ones, plans, strict=True):
        say(f"{one.job.output_name}, on GPU {one.facts.environment[VISIBLE]}:\n{plan_as_text(made)}\n")


def these(settings: Settings, job: Job, facts: Facts) -> tuple[One, ...]:
    """Return the runs as this environment's CUDA_VISIBLE_DEVICES has them; raises as each_of."""
    return each_of(settings, job, facts, os.environ.get(VISIBLE))


def _planned(settings: Settings, job: Job, facts: Facts, planned: Planned, *, quiet: bool) -> list[Start]:
    starts = []
    for one in these(settings, job, facts):
        made = planned(one)
        if isinstance(made, Start):
            starts.append(made)
        elif not quiet:
            say(f"{made.id} did this very job already.")
    return starts


def _make_shared(first: Start, job: Job, trainer: Engine, *, as_json: bool) -> bool:
    """Make the caches in a run of their own, on the first GPU; tell whether there was anything to make.

    Raises:
        typer.Exit: that run did not end well.
    """
    steps = tuple(step for step in first.plan.steps if step.name in SHARED)
    if all(step.skip is not None for step in steps):
        return False
    if not as_json:
        say("What the runs share is made first. They start after that.")
    own = Start(first.settings, job, Plan(steps=steps), first.facts)
    started = start_runs((own,), trainer)[0]
    if not as_json:
        look_on(started.folder, pid=started.pid)
        return True
    wait_for_all((started.folder,))
    record = started.folder.load()
    if exit_code_of(record) != ExitCode.DONE:
        say_json({"runs": [record.model_dump(mode="json")]})
        raise typer.Exit(exit_code_of(record))
    return True


def _tell_started(started: Sequence[Started], starts: Sequence[Start]) -> None:
    for one, start in zip(started, starts, strict=True):
        gpu = start.facts.environment[VISIBLE]
        say(f"Started {one.record.id} on GPU {gpu}. Its log: musabi logs --run {one.record.id}")
