"""Verbs that make a LoRA: plan, prepare, train."""

import json
import sys
from typing import Annotated, Any

import typer

from musabi.commands.before_run import check_first
from musabi.commands.each import One, is_each, looked, run_each, show_each, these
from musabi.commands.gather import gather
from musabi.commands.options import (
    DryRun,
    EngineOption,
    GpusOption,
    Json,
    MissingCaptions,
    ModelOption,
    NameOption,
    OptimizerOption,
    Set,
    settings_from,
)
from musabi.commands.resuming import resume_point, what_is_left
from musabi.commands.running import Start, run_plan, run_start
from musabi.commands.show import plan_as_text, say, say_json
from musabi.commands.waiting import wait_for_bootstrap
from musabi.engines.registry import engine
from musabi.job.engine import Engine
from musabi.job.facts import Facts
from musabi.job.model import Job
from musabi.job.plan import Plan, plan_as_json
from musabi.job.planner import plan_prepare, plan_training
from musabi.job.record import RunRecord
from musabi.recipes import make_job
from musabi.settings import Settings

Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest whole state.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Start anew: files of this name are moved to replaced/.")
]
Continue = Annotated[
    bool,
    typer.Option(
        "--continue",
        help="Do what is left: nothing where this very job is done, resume where it was interrupted.",
    ),
]
Detach = Annotated[bool, typer.Option("--detach", help="Start, and do not look on.")]
Epochs = Annotated[int | None, typer.Option("--epochs", help="Epochs to train.", show_default=False)]
MaxSteps = Annotated[
    int | None, typer.Option("--max-steps", help="End after this many optimizer steps.", show_default=False)
]


def plan_verb(
    context: typer.Context,
    model: ModelOption = None,
    optimizer: OptimizerOption = None,
    engine_name: EngineOption = None,
    output_name: NameOption = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    gpus: GpusOption = None,
    resume: Resume = False,
    allow_missing_captions: MissingCaptions = False,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Print what a training would do: every command, and why each setting was chosen.

    Example: musabi plan --optimizer adamw8bit --set network_dim=16
    """
    settings = settings_from(
        pairs,
        engine=engine_name,
        model=model,
        optimizer=optimizer,
        output_name=output_name,
        max_train_epochs=epochs,
        max_train_steps=max_steps,
        gpus=gpus,
        allow_missing_captions=allow_missing_captions,
    )
    job = make_job(settings, extra_train_args=(*settings.extra_train_args, *context.args))
    show_plan(settings, job, resume=resume, as_json=as_json)


def prepare_verb(
    context: typer.Context,
    model: ModelOption = None,
    engine_name: EngineOption = None,
    allow_missing_captions: MissingCaptions = False,
    dry_run: DryRun = False,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Check the dataset and cache its latents and captions. What is still right is kept.

    Example: musabi prepare --set latent_batch_size=4 -- --num_workers 2
    """
    settings = settings_from(
        pairs, engine=engine_name, model=model, allow_missing_captions=allow_missing_captions
    )
    job = make_job(settings, extra_cache_args=(*settings.extra_cache_args, *context.args))
    trainer = engine(job.engine)
    if not dry_run:
        wait_for_bootstrap(settings, job, dit=False, quiet=as_json)
    facts = gather(settings, job, dit=False, look=dry_run)
    if not dry_run:
        check_first(settings, quiet=as_json)
    plan = plan_prepare(job, facts, trainer)
    if dry_run:
        say_json(plan_as_json(plan)) if as_json else say(plan_as_text(plan))
        return
    run_plan(settings, job, plan, facts, trainer, as_json=as_json)


def train_verb(
    context: typer.Context,
    model: ModelOption = None,
    optimizer: OptimizerOption = None,
    engine_name: EngineOption = None,
    output_name: NameOption = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    gpus: GpusOption = None,
    resume: Resume = False,
    go_on: Continue = False,
    overwrite: Overwrite = False,
    detach: Detach = False,
    dry_run: DryRun = False,
    allow_missing_captions: MissingCaptions = False,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Train a LoRA. Caches first where the dataset, a setting or a model changed.

    Training goes on when this terminal closes. What follows -- goes to the trainer as it is.

    Example: musabi train --optimizer prodigy --epochs 40 -- --max_grad_norm 0.5
    """
    settings = settings_from(
        pairs,
        engine=engine_name,
        model=model,
        optimizer=optimizer,
        output_name=output_name,
        max_train_epochs=epochs,
        max_train_steps=max_steps,
        gpus=gpus,
        allow_missing_captions=allow_missing_captions,
    )
    job = make_job(settings, extra_train_args=(*settings.extra_train_args, *context.args))
    if dry_run:
        show_plan(settings, job, resume=resume, as_json=as_json)
        return
    train(settings, job, resume=resume, go_on=go_on, overwrite=overwrite, detach=detach, as_json=as_json)


def train(
    settings: Settings,
    job: Job,
    *,
    resume: bool = False,
    go_on: bool = False,
    overwrite: bool = False,
    detach: bool = False,
    as_json: bool = False,
) -> None:
    """Plan a training, print why, and carry it out; with `go_on`, only what is left of it.

    Raises:
        RequestError, MachineError, TrainerError: it can't be done, or it failed.
    """
    trainer = engine(job.engine)
    wait_for_bootstrap(settings, job, dit=True, quiet=as_json)
    facts = looked(lambda: gather(settings, job))
    check_first(settings, quiet=as_json)

    def planned(one: One) -> Start | RunRecord:
        return start_of(one, trainer, resume=resume, go_on=go_on, overwrite=overwrite)

    if is_each(settings):
        run_each(settings, job, facts, trainer, planned, detach=detach, as_json=as_json)
        return
    start = planned(One(settings, job, facts()))
    if isinstance(start, RunRecord):
        say_json(start.model_dump(mode="json")) if as_json else say(
            f"{start.id} did this very job already: {job.output_dir / job.output_name}.safetensors"
        )
        return
    if not as_json:
        say(plan_as_text(start.plan, commands=False))
    run_start(start, trainer, detach=detach, as_json=as_json)


def start_of(
    one: One, trainer: Engine, *, resume: bool = False, go_on: bool = False, overwrite: bool = False
) -> Start | RunRecord:
    """Return the training to start, or the run that did this very job already."""
    settings, job, facts = one.settings, one.job, one.facts
    point, earlier = None, None
    if go_on:
        left = what_is_left(settings, job, facts, trainer)
        if left.done is not None:
            return left.done
        point, earlier = left.point, left.earlier
    elif resume:
        point, earlier = resume_point(settings, job, facts, trainer)
    plan = plan_training(job, facts, trainer, point)
    return Start(settings, job, plan, facts, earlier, overwrite)


def show_plan(settings: Settings, job: Job, *, resume: bool, as_json: bool) -> None:
    """Print the plan of a training: the dry run."""
    trainer = engine(job.engine)
    facts = gather(settings, job, look=True)

    def planned(one: One) -> Plan:
        point = resume_point(settings, one.job, one.facts, trainer, collect=False)[0] if resume else None
        return plan_training(one.job, one.facts, trainer, point)

    if is_each(settings):
        show_each(these(settings, job, facts), planned, as_json=as_json)
        return
    plan = planned(One(settings, job, facts))
    if as_json:
        told = plan_as_json(plan) | described(job, facts)
        sys.stdout.write(json.dumps(told, default=str) + "\n")
    else:
        say(plan_as_text(plan))


def described(job: Job, facts: Facts) -> dict[str, Any]:
    """Return what a plan is for, as values that JSON can hold: the job as it was understood, and the machine."""
    machine = {"gpu": facts.machine.gpu_name, "gpus": len(facts.machine.gpus)}
    return {"job": job.model_dump(mode="json"), "machine": machine}


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    trailing: dict[str, Any] = {"allow_extra_args": True}
    app.command("plan", context_settings=trailing)(plan_verb)
    app.command("prepare", context_settings=trailing)(prepare_verb)
    app.command("train", context_settings=trailing)(train_verb)
