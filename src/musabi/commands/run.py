"""The verb that does a whole job: fetch, caption, check, cache, train, convert, sample, report."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from musabi.commands.before_run import caption_first, check_first, fetch_first, read_first
from musabi.commands.each import One, is_each, looked, run_each, show_each, these
from musabi.commands.gather import gather
from musabi.commands.options import DryRun, EngineOption, GpusOption, Json, MissingCaptions, job_file_settings
from musabi.commands.resuming import loras_of, resume_point, what_is_left
from musabi.commands.running import Start, run_start
from musabi.commands.show import plan_as_text, say, say_json
from musabi.commands.waiting import wait_for_bootstrap
from musabi.engines.registry import engine, require_model, trainer_facts
from musabi.job.claims import InTheWay
from musabi.job.engine import Engine
from musabi.job.facts import Facts
from musabi.job.model import Job
from musabi.job.plan import plan_as_json
from musabi.job.planner import plan_whole
from musabi.job.record import RunFolder, RunRecord, RunState
from musabi.recipes import load, make_job
from musabi.settings import Settings

WAIT_SECONDS = 3.0


def run_verb(
    job_file: Annotated[Path, typer.Argument(help="The job: a TOML file with the settings' names.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest whole state.")] = False,
    go_on: Annotated[
        bool,
        typer.Option(
            "--continue",
            help="Do what is left: nothing where this very job is done, resume where it was interrupted.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew: files of this name are moved to replaced/.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Start, and do not look on.")] = False,
    gpus: GpusOption = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the runs that use the same GPUs, name or caches.")
    ] = False,
    dry_run: DryRun = False,
    allow_missing_captions: MissingCaptions = False,
    engine_name: EngineOption = None,
    as_json: Json = False,
) -> None:
    """Do a whole job: fetch, caption, check, cache, train, convert every checkpoint, sample, report.

    Example: musabi run job.toml --detach
    """
    named = {"engine": engine_name, "allow_missing_captions": allow_missing_captions, "gpus": gpus}
    settings = job_file_settings(job_file, named)
    job = make_job(settings)
    if not dry_run:
        _make_ready(settings, job, quiet=as_json)
    trainer = engine(job.engine)
    facts = looked(lambda: gather(settings, job, samples=True, look=dry_run))

    def planned(one: One) -> Start | RunRecord:
        return start_of(one, trainer, resume=resume, go_on=go_on, overwrite=overwrite)

    if dry_run:
        _show(settings, job, facts(), trainer, resume=resume, as_json=as_json)
        return
    if is_each(settings):
        in_turn(
            lambda: run_each(settings, job, facts, trainer, planned, detach=detach, as_json=as_json),
            wait=wait,
        )
        return

    def start() -> None:
        made = planned(One(settings, job, facts()))
        if isinstance(made, Start):
            run_start(made, trainer, detach=detach, as_json=as_json)
        else:
            say_json(made.model_dump(mode="json")) if as_json else say(
                f"{made.id} did this very job already."
            )

    in_turn(start, wait=wait)
    page = job.output_dir / f"{job.output_name}-report.html"
    if not (detach or as_json) and page.exists():
        say(f"The report is {page}")


def start_of(
    one: One, trainer: Engine, *, resume: bool = False, go_on: bool = False, overwrite: bool = False
) -> Start | RunRecord:
    """Return the whole job to start, or the run that did this very job already."""
    if not go_on:
        return _whole(one, trainer, resume=resume, overwrite=overwrite)
    left = what_is_left(one.settings, one.job, one.facts, trainer, whole=True)
    return left.done or _whole(one, trainer, resume=left.point is not None, overwrite=overwrite)


def _whole(one: One, trainer: Engine, *, resume: bool, overwrite: bool = False) -> Start:
    """Return the whole job: cache, train, convert, sample, and the report after it."""
    settings, job, facts = one.settings, one.job, one.facts
    point, earlier = resume_point(settings, job, facts, trainer) if resume else (None, None)
    loras = loras_of(job, facts, trainer, point, earlier) if point and earlier else ()
    plan = plan_whole(job, facts, trainer, point, loras)
    return Start(settings, job, plan, facts, earlier, overwrite, _report)


def _show(
    settings: Settings, job: Job, facts: Facts, trainer: Engine, *, resume: bool, as_json: bool
) -> None:
    if is_each(settings):
        ones = these(settings, job, facts)
        show_each(ones, lambda one: _whole(one, trainer, resume=resume).plan, as_json=as_json)
        return
    plan = _whole(One(settings, job, facts), trainer, resume=resume).plan
    say_json(plan_as_json(plan)) if as_json else say(plan_as_text(plan))


def in_turn(start: Callable[[], object], *, wait: bool) -> None:
    """Start a run; with `wait`, as soon as no run that goes on is in its way.

    It is planned anew each time: what the other run cached may be what this one needs.

    Raises:
        InTheWay: another run is in the way, and `wait` was not asked for.
    """
    while True:
        try:
            start()
            return
        except InTheWay:
            if not wait:
                raise
        time.sleep(WAIT_SECONDS)


def _make_ready(settings: Settings, job: Job, *, quiet: bool) -> None:
    """Look first at all that needs no weights, so that a slip is found before gigabytes are fetched."""
    recipe = load(job.model)
    require_model(job.engine, recipe)
    read_first(settings, job)
    wait_for_bootstrap(settings, job, dit=True, quiet=quiet)
    trainer_facts(job.engine, settings, recipe)
    if settings.caption_with is None:
        check_first(settings, quiet=quiet)
    fetch_first(settings, job, quiet=quiet)
    if settings.caption_with is not None:
        caption_first(settings, quiet=quiet)
        check_first(settings, quiet=quiet)


def _report(folder: RunFolder, _state: RunState) -> None:
    from musabi.watch.report import write_report

    write_report(folder, None)


def register(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command("run")(run_verb)
