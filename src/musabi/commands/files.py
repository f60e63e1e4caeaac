"""Verbs on files: check a dataset, convert a LoRA, sample with one, run a whole job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from musabi.commands.gather import gather
from musabi.commands.options import (
    DryRun,
    EngineOption,
    Json,
    MissingCaptions,
    Set,
    job_file_settings,
    job_from,
    settings_from,
)
from musabi.commands.resuming import loras_of, resume_point
from musabi.commands.running import run_plan
from musabi.commands.show import plan_as_text, say, say_json
from musabi.commands.view import describe
from musabi.commands.waiting import wait_for_bootstrap
from musabi.dataset.prompts import read_prompts
from musabi.engines.registry import engine, trainer_facts
from musabi.errors import ExitCode, RequestError
from musabi.job.events import Event
from musabi.job.execute import execute
from musabi.job.facts import DatasetFacts, Facts
from musabi.job.lora_file import read_lora
from musabi.job.model import Job
from musabi.job.plan import plan_as_json
from musabi.job.planner import convert_step, plan_whole
from musabi.job.preflight import require_weights
from musabi.job.record import RunFolder, RunState
from musabi.machine import machine_facts
from musabi.settings import Settings

if TYPE_CHECKING:
    from musabi.dataset.check import Report


def check_verb(
    config: Annotated[
        Path | None,
        typer.Argument(help="The dataset TOML; DATASET_CONFIG where not given.", show_default=False),
    ] = None,
    allow_missing_captions: MissingCaptions = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Turn rotated photos upright; the originals are kept in originals/.")
    ] = False,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Look at every image and caption and say what would go wrong.

    Example: musabi check dataset.toml --json
    """
    from musabi.dataset.check import check, require_trainable
    from musabi.dataset.config import read_config
    from musabi.dataset.rotation import fix_rotation

    settings = settings_from(pairs, dataset_config=str(config) if config else None)
    parsed = read_config(settings.dataset_config)
    report = check(parsed, allow_missing_captions=allow_missing_captions)
    if fix and report.rotated:
        for path in report.rotated:
            kept = fix_rotation(path)
            if not as_json:
                say(f"Turned upright: {path} (the original is {kept})")
        report = check(parsed, allow_missing_captions=allow_missing_captions)
    say_json(report.as_json()) if as_json else say(check_as_text(report))
    if as_json and not report.trainable:
        raise typer.Exit(ExitCode.WRONG_REQUEST)
    require_trainable(report)


def convert_verb(
    source: Annotated[Path, typer.Argument(help="The LoRA as it was trained.")],
    target: Annotated[
        Path | None,
        typer.Argument(help="The file to write; comfyui/ beside it where not given.", show_default=False),
    ] = None,
    engine_name: EngineOption = None,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Convert a LoRA for ComfyUI.

    Example: musabi convert output/character_lora_v1.safetensors
    """
    settings = settings_from(pairs, engine=engine_name)
    source = find_lora(settings, source)
    lora = read_lora(source)
    if target is not None and target.suffix != ".safetensors":
        raise RequestError(f"{target} must end in .safetensors, or it is not taken for a LoRA.")
    if lora.keys == "comfyui":
        raise RequestError(f"{source} has ComfyUI's keys already. Use it as it is.")
    job = job_from(settings, "prodigy")
    trainer = engine(job.engine)
    step = convert_step(
        trainer, source.absolute(), target.absolute() if target else None, _bare_facts(settings, job)
    )
    execute(step, trainer, lambda event: None)
    written = step.output[1] if step.output else source
    say_json({"converted": str(written)}) if as_json else say(f"Converted for ComfyUI: {written}")


def sample_verb(
    context: typer.Context,
    lora: Annotated[
        Path | None,
        typer.Argument(
            help="A LoRA as it was trained; the newest of OUTPUT_NAME where not given.", show_default=False
        ),
    ] = None,
    no_lora: Annotated[bool, typer.Option("--no-lora", help="Sample the model without a LoRA.")] = False,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", help="Prompt file; SAMPLE_PROMPTS where not given.", show_default=False),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where the pictures go.", show_default=False)
    ] = None,
    engine_name: EngineOption = None,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Render the sample prompts with a LoRA. What follows -- goes to the sampler as it is.

    Example: musabi sample output/character_lora_v1.safetensors
    """
    settings = settings_from(pairs, engine=engine_name, sample_prompts=str(prompts) if prompts else None)
    extra = list(context.args)
    if lora is not None and str(lora).startswith("-"):  # what stood first behind --
        extra, lora = [str(lora), *extra], None
    job = job_from(settings, "prodigy", extra_sample_args=tuple(extra))
    newest = job.output_dir / f"{job.output_name}.safetensors"
    chosen = None if no_lora else find_lora(settings, lora or newest).absolute()
    if chosen is not None:
        read_lora(chosen)
    facts = _bare_facts(settings, job)
    require_weights(job)
    read_prompts(job.sample_prompts)
    trainer = engine(job.engine)
    usual = job.output_dir / ("sample" if chosen else "sample-without-lora")
    step = trainer.sample_step(job, facts, chosen, (folder or usual).absolute())
    made: list[str] = []
    execute(step, trainer, lambda event: _tell(event, made, quiet=as_json))
    if as_json:
        say_json({"samples": made})


def run_verb(
    job_file: Annotated[Path, typer.Argument(help="The job: a TOML file with the settings' names.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest whole state.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew: files of this name are moved to replaced/.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Start, and do not look on.")] = False,
    dry_run: DryRun = False,
    allow_missing_captions: MissingCaptions = False,
    engine_name: EngineOption = None,
    as_json: Json = False,
) -> None:
    """Do a whole job: cache, train, convert every checkpoint, sample, report.

    Example: musabi run job.toml --detach
    """
    settings, optimizer = job_file_settings(job_file, {"engine": engine_name})
    job = job_from(settings, optimizer, allow_missing_captions=allow_missing_captions)
    trainer = engine(job.engine)
    if not dry_run:
        wait_for_bootstrap(settings, job, dit=True, quiet=as_json)
    facts = gather(settings, job, samples=True)
    point, earlier = resume_point(settings, job, facts, trainer) if resume else (None, None)
    loras = loras_of(job, facts, trainer, point, earlier) if point and earlier else ()
    plan = plan_whole(job, facts, trainer, point, loras)
    if dry_run:
        say_json(plan_as_json(plan)) if as_json else say(plan_as_text(plan))
        return
    run_plan(
        settings,
        job,
        plan,
        facts,
        trainer,
        earlier=earlier,
        overwrite=overwrite,
        detach=detach,
        as_json=as_json,
        after=_report,
    )
    page = job.output_dir / f"{job.output_name}-report.html"
    if not (detach or as_json) and page.exists():
        say(f"The report is {page}")


def find_lora(settings: Settings, given: Path) -> Path:
    """Return the file that a name means: here, else under the workspace, else in the output folder."""
    places = (given, settings.workspace / given, settings.output_dir / given)
    return next((place for place in places if place.exists()), given)


def _report(folder: RunFolder, _state: RunState) -> None:
    from musabi.watch.report import write_report

    write_report(folder, None)


def _bare_facts(settings: Settings, job: Job) -> Facts:
    """Return the facts of a step that needs no dataset."""
    return Facts(
        machine=machine_facts(),
        dataset=DatasetFacts(images=0, batches_per_epoch=0),
        trainer=trainer_facts(job.engine, settings),
        environment=settings.child_environment,
    )


def _tell(event: Event, made: list[str], *, quiet: bool) -> None:
    if event.kind == "sample" and event.file is not None:
        made.append(event.file)
    if not quiet:
        say(event.file or event.message or describe(event))


def check_as_text(report: Report) -> str:
    """Return what a check found: the numbers, the buckets, then each finding on a line."""
    sizes = ", ".join(f"{b.width}x{b.height} ({b.images})" for b in report.buckets)
    lines = [f"{report.images} images, {report.steps_per_epoch} steps an epoch", f"Buckets: {sizes}"]
    lines += [f"{finding.level}: {finding.message}" for finding in report.findings]
    return "\n".join(lines)


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    trailing: dict[str, Any] = {"allow_extra_args": True}
    app.command("check")(check_verb)
    app.command("convert")(convert_verb)
    app.command("sample", context_settings=trailing)(sample_verb)
    app.command("run")(run_verb)
