"""Verbs that render with a LoRA: sample, and grid for many at once."""

from pathlib import Path
from typing import Annotated, Any

import typer

from musabi.commands.files import find_lora
from musabi.commands.options import EngineOption, Json, ModelOption, Set, settings_from
from musabi.commands.show import say, say_json
from musabi.commands.view import describe
from musabi.dataset.prompts import prompt_rules, read_prompts
from musabi.engines.registry import engine, trainer_facts
from musabi.errors import ExitCode, RequestError
from musabi.grid.cells import (
    columns,
    content_of,
    read_strengths,
    require_few,
    rows,
    setup_of,
)
from musabi.job.engine import Engine
from musabi.job.events import Event
from musabi.job.execute import execute
from musabi.job.facts import DatasetFacts, Facts
from musabi.job.lora_file import read_lora
from musabi.job.model import Job
from musabi.job.plan import Step
from musabi.job.preflight import existing_outputs, require_weights, require_writable
from musabi.job.prompt import Prompt
from musabi.machine import machine_facts
from musabi.recipes import load as load_recipe
from musabi.recipes import make_job
from musabi.settings import Settings
from musabi.whole import is_whole_safetensors, safetensors_header

PromptsOption = Annotated[
    Path | None,
    typer.Option("--prompts", help="Prompt file; SAMPLE_PROMPTS where not given.", show_default=False),
]


def sample_verb(
    context: typer.Context,
    lora: Annotated[
        Path | None,
        typer.Argument(
            help="A LoRA as it was trained; the newest of OUTPUT_NAME where not given.", show_default=False
        ),
    ] = None,
    strength: Annotated[float, typer.Option("--strength", help="How much of the LoRA is added.")] = 1.0,
    no_lora: Annotated[bool, typer.Option("--no-lora", help="Sample the model without a LoRA.")] = False,
    prompts: PromptsOption = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where the pictures go.", show_default=False)
    ] = None,
    keep_latents: Annotated[
        bool,
        typer.Option("--keep-latents", help="Keep latents in place of pictures; --latents decodes them."),
    ] = False,
    latents: Annotated[
        list[Path] | None,
        typer.Option("--latents", help="Decode this file of kept latents; may be given several times."),
    ] = None,
    model: ModelOption = None,
    engine_name: EngineOption = None,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Render the sample prompts with a LoRA. What follows -- goes to the sampler as it is.

    Example: musabi sample output/character_lora_v1.safetensors --strength 0.8
    """
    named = {"engine": engine_name, "model": model, "sample_prompts": str(prompts) if prompts else None}
    settings = settings_from(pairs, **named)
    extra = list(context.args)
    if lora is not None and str(lora).startswith("-"):  # what stood first behind --
        extra, lora = [str(lora), *extra], None
    job = make_job(settings, extra_sample_args=(*settings.extra_sample_args, *extra))
    read_strengths(f"{strength}")
    if latents:
        _refuse_beside_latents(lora=lora is not None, no_lora=no_lora, keep_latents=keep_latents)
        files = [
            (settings.workspace / file).absolute() if not file.exists() else file.absolute()
            for file in latents
        ]
        steps = _decoding(settings, job, files, folder)
    else:
        newest = job.output_dir / f"{job.output_name}.safetensors"
        chosen = None if no_lora else find_lora(settings, lora or newest).absolute()
        steps = _rendering(settings, _keeping(job) if keep_latents else job, chosen, strength, folder)
    made: list[str] = []
    for step in steps:
        execute(step, engine(job.engine), lambda event: _tell(event, made, quiet=as_json))
    if as_json:
        say_json({"samples": made})


def grid_verb(
    loras: Annotated[
        list[Path] | None,
        typer.Argument(help="LoRAs; all checkpoints of OUTPUT_NAME where not given.", show_default=False),
    ] = None,
    strengths: Annotated[
        str, typer.Option("--strengths", help="Strengths of every LoRA, such as 0.6,0.8,1.0.")
    ] = "1.0",
    with_base: Annotated[
        bool, typer.Option("--with-base", help="Show the model without a LoRA first.")
    ] = False,
    prompts: PromptsOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", help="The PNG; grid/NAME.png in OUTPUT_DIR if not given.", show_default=False
        ),
    ] = None,
    cell: Annotated[int, typer.Option("--cell", min=48, max=1024, help="Longer side of a picture.")] = 256,
    model: ModelOption = None,
    engine_name: EngineOption = None,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Render prompts x checkpoints x strengths as one labelled picture. What is rendered already is kept.

    Example: musabi grid --strengths 0.6,0.8,1.0 --with-base
    """
    from musabi.grid.rendering import Studio
    from musabi.grid.sheet import make_grid

    named = {"engine": engine_name, "model": model, "sample_prompts": str(prompts) if prompts else None}
    settings = settings_from(pairs, **named)
    job = make_job(settings)
    target = (output or job.output_dir / "grid" / f"{job.output_name}.png").absolute()
    if target.suffix != ".png":
        raise RequestError(f"--output is {target.name}. The grid is a PNG, so its name must end in .png.")
    recipe = load_recipe(job.model)
    wanted = rows(read_prompts(job.sample_prompts, prompt_rules(recipe)), job.seed)
    chosen = _chosen(settings, job, loras or [], with_base=with_base)
    factors = read_strengths(strengths)
    require_few(len(wanted), len(chosen) * len(factors) + with_base)
    require_weights(job)
    folder = job.output_dir / "grid" / job.output_name
    require_writable(folder, "OUTPUT_DIR")
    labelled = [(label, path, content_of(path)) for label, path in chosen]
    shown = columns(labelled, factors, with_base=with_base)
    facts = _bare_facts(settings, job, wanted)
    studio = Studio(engine(job.engine), job, facts, folder.absolute(), setup_of(job, recipe))
    done = make_grid(studio, shown, wanted, cell, target, (lambda text: None) if as_json else say)
    if as_json:
        say_json(done.as_json())
    else:
        say(done.as_text())
    if done.empty:
        raise typer.Exit(int(ExitCode.TRAINER_FAILED))


def _chosen(settings: Settings, job: Job, given: list[Path], *, with_base: bool) -> list[tuple[str, Path]]:
    """Return the LoRAs of a grid with their labels: those given, else every checkpoint of the run."""
    from musabi.grid.labels import labels

    files = [find_lora(settings, path) for path in given] or [
        path for path in existing_outputs(job) if path.suffix == ".safetensors"
    ]
    if not files and not with_base:
        raise RequestError(
            f"There is no LoRA named {job.output_name} in {job.output_dir}. Name LoRA files, or set OUTPUT_NAME."
        )
    for path in files:
        read_lora(path)
    return list(zip(labels(files, job.output_name), (path.absolute() for path in files), strict=True))


def _rendering(
    settings: Settings, job: Job, lora: Path | None, strength: float, folder: Path | None
) -> tuple[Step, ...]:
    if lora is not None:
        read_lora(lora)
    require_weights(job)
    read = read_prompts(job.sample_prompts, prompt_rules(load_recipe(job.model)))
    facts = _bare_facts(settings, job, read)
    usual = job.output_dir / ("sample" if lora else "sample-without-lora")
    return _engine(job).sample_steps(job, facts, lora, (folder or usual).absolute(), strength)


def _decoding(settings: Settings, job: Job, files: list[Path], folder: Path | None) -> tuple[Step, ...]:
    for file in files:
        _require_latents(file)
    require_weights(job, {"vae"})
    facts = _bare_facts(settings, job)
    return _engine(job).decode_steps(job, facts, files, (folder or job.output_dir / "sample").absolute())


def _require_latents(file: Path) -> None:
    if not is_whole_safetensors(file):
        raise RequestError(f"{file} is not there, is cut off or is no safetensors file. Name kept latents.")
    header = safetensors_header(file)
    if header is None or "latent" not in header[1]:
        raise RequestError(
            f"{file} holds no latents that a sampler kept. Keep some with: musabi sample --keep-latents."
        )


def _refuse_beside_latents(**given: bool) -> None:
    named = [name for name, value in given.items() if value]
    if named:
        word = {"lora": "a LoRA", "no_lora": "--no-lora", "keep_latents": "--keep-latents"}[named[0]]
        raise RequestError(
            f"--latents decodes what was rendered, so {word} has no effect with it. Leave it out."
        )


def _keeping(job: Job) -> Job:
    """Return the job whose sampler keeps latents."""
    recipe = load_recipe(job.model)
    flag = recipe.scripts.sample.flags.get("output_type")
    if flag is None:
        raise RequestError(
            f"The sampler for {recipe.title} can't keep latents. Leave --keep-latents out; it renders pictures."
        )
    return job.model_copy(update={"extra_sample_args": (*job.extra_sample_args, flag, "latent")})


def _engine(job: Job) -> Engine:
    return engine(job.engine)


def _bare_facts(settings: Settings, job: Job, prompts: tuple[Prompt, ...] = ()) -> Facts:
    """Return the facts of a step that needs no dataset."""
    return Facts(
        machine=machine_facts(),
        dataset=DatasetFacts(images=0, batches_per_epoch=0),
        trainer=trainer_facts(job.engine, settings, load_recipe(job.model)),
        environment=settings.child_environment,
        prompts=prompts,
    )


def _tell(event: Event, made: list[str], *, quiet: bool) -> None:
    if event.kind == "sample" and event.file is not None:
        made.append(event.file)
    if not quiet:
        say(event.file or event.message or describe(event))


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    trailing: dict[str, Any] = {"allow_extra_args": True}
    app.command("sample", context_settings=trailing)(sample_verb)
    app.command("grid")(grid_verb)
