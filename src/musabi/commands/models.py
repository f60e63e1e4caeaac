"""Verbs on model files: download from the hub, make a tiny model to rehearse with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from musabi.commands.options import Json, Set, settings_from
from musabi.commands.show import say, say_json
from musabi.errors import MachineError, RequestError
from musabi.recipes import load
from musabi.settings import Settings

if TYPE_CHECKING:
    from musabi.hub.access import Access
    from musabi.hub.download import DownloadRequest

app = typer.Typer(help="Models: list them, download their files, make a tiny one.", no_args_is_help=True)
Patterns = Annotated[list[str] | None, typer.Option(help="Pattern of file names; may be repeated.")]
Model = Annotated[str, typer.Argument(help="A model of musabi models list, or OWNER/NAME on the hub.")]
Files = Annotated[list[str] | None, typer.Argument(help="Files of the repo; all where none is named.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit.", show_default=False)]
RepoType = Annotated[str, typer.Option(help="model, dataset or space.")]
LocalDir = Annotated[Path | None, typer.Option(help="A plain folder for the files.", show_default=False)]
CacheDir = Annotated[Path | None, typer.Option(help="A hub cache.", show_default=False)]
Workers = Annotated[
    int | None,
    typer.Option(help="Files at the same time; HF_MAX_WORKERS where not given.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print files and bytes, and fetch nothing.")]
To = Annotated[
    Path | None,
    typer.Option(
        help="Where the volume of an endpoint is mounted here: the model is put where the endpoint looks for it.",
        show_default=False,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(help="With --to: who trains it there, musubi or diffusion_pipe.", show_default=False),
]


@app.command("list")
def list_verb(pairs: Set = None, as_json: Json = False) -> None:
    """List the models that can be trained: GPU memory, disk, licence, and whether their files are here.

    Example: musabi models list --json
    """
    from musabi.recipes.overview import overview, overview_as_text

    settings = settings_from(pairs)
    rows = overview(settings.space.models)
    say_json([row.as_json() for row in rows]) if as_json else say(overview_as_text(rows))


@app.command("download")
def download_verb(
    name: Model,
    files: Files = None,
    include: Patterns = None,
    exclude: Patterns = None,
    revision: Revision = None,
    repo_type: RepoType = "model",
    local_dir: LocalDir = None,
    cache_dir: CacheDir = None,
    max_workers: Workers = None,
    dry_run: DryRun = False,
    to: To = None,
    engine: Engine = None,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Fetch what a model needs to train, or files of any repo. A transfer that stands still is taken up again.

    Example: musabi models download qwen-image --dry-run

    The volume of an endpoint, filled on a pod: musabi models download flux --to /workspace
    """
    from musabi.hub.access import Access
    from musabi.hub.download import DownloadRequest

    settings = settings_from(pairs, hf_max_workers=max_workers)
    access = Access(environment=os.environ | settings.child_environment, max_workers=settings.hf_max_workers)
    names, workers = (tuple(files or ()), tuple(include or ()), tuple(exclude or ())), settings.hf_max_workers
    request = DownloadRequest(name, *names, revision, repo_type, local_dir, cache_dir, workers)
    chosen = any((files, include, exclude, revision, local_dir, cache_dir))
    _require_fitting(request, to, engine, chosen=chosen, dry_run=dry_run)
    if to is not None:
        _download_to(settings, to, name, engine, as_json=as_json)
    elif "/" in name:
        _download_repo(request, access, as_json=as_json)
    else:
        _download_model(settings, access, name, dry_run=dry_run, as_json=as_json)


def _require_fitting(
    request: DownloadRequest, to: Path | None, engine: str | None, *, chosen: bool, dry_run: bool
) -> None:
    """Refuse options that say nothing together; `chosen` tells whether files, a revision or a folder are named.

    Raises:
        RequestError: there are such.
    """
    if (engine is not None and to is None) or (to is not None and (dry_run or chosen)):
        raise RequestError(
            "--to takes a model's name, --engine and nothing else; --engine is for --to alone."
        )
    if "/" not in request.repo and chosen:
        raise RequestError(
            f"{request.repo} is a model, whose files are known. Give no more than its name, or OWNER/NAME of a repo."
        )
    if "/" in request.repo and dry_run:
        raise RequestError("--dry-run is for a model of musabi models list. Leave it out for a repo.")


def _download_repo(request: DownloadRequest, access: Access, *, as_json: bool) -> None:
    """Fetch files of a repo."""
    from musabi.hub.download import download

    place = download(request, access, say=(lambda _text: None) if as_json else say)
    say_json({"path": str(place)}) if as_json else say(f"Downloaded to {place}")


def _download_model(settings: Settings, access: Access, name: str, *, dry_run: bool, as_json: bool) -> None:
    """Fetch a model's files to their places, or say what that would be."""
    from musabi.commands.fetching import as_the_recipe_says, fetch_model, what_to_fetch
    from musabi.hub.faults import HubError
    from musabi.hub.listing import gigabytes

    model = load(name).name
    if not dry_run:
        fetch_model(settings, model, as_json=as_json)
        return
    try:
        rows = what_to_fetch(settings, access, model)
    except HubError as problem:
        for line in as_the_recipe_says(model):
            say(line)
        raise MachineError(f"{problem} The sizes above are the recipe's.") from None
    if as_json:
        say_json([row.as_json() for row in rows])
        return
    for row in rows:
        say(
            f"{gigabytes(row.size):>9}  {'here' if row.here else '    '}  {row.repo}: {row.path} -> {row.place}"
        )
    coming = sum(row.size for row in rows if not row.here)
    total = sum(row.size for row in rows)
    say(
        f"{len(rows)} files, {total} bytes ({gigabytes(total)}); to fetch: {coming} bytes ({gigabytes(coming)})"
    )


def _download_to(settings: Settings, volume: Path, name: str, engine: str | None, *, as_json: bool) -> None:
    """Fetch a model to the volume of an endpoint."""
    from musabi.serverless.models.cache import fill
    from musabi.serverless.models.sources import named_choice

    choice = named_choice(name, engine)
    tell = (lambda _text, _percent: None) if as_json else (lambda text, _percent: say(text))
    root = fill(volume.absolute(), choice, settings, os.environ, tell)
    if as_json:
        say_json({"model": choice.model, "engine": choice.engine, "root": str(root)})
        return
    say(f"{choice.title} for {choice.engine} is in {root}, where an endpoint with this volume finds it.")


@app.command("check")
def check_verb(
    name: Annotated[str, typer.Argument(help="A model of musabi models list.")], as_json: Json = False
) -> None:
    """Print every command line that a model's recipe comes to, each held against musubi-tuner's own arguments.

    Needs no weights, no GPU and no musubi-tuner. Example: musabi models check z-image
    """
    from musabi.commands.show import step_as_text
    from musabi.contract import committed
    from musabi.engines.musubi.contract import Installed
    from musabi.engines.musubi.rehearse import rehearse

    recipe = load(name)
    steps = rehearse(recipe, Installed(committed()))
    if as_json:
        say_json([{"step": step.name, "title": step.title, "argv": list(step.argv)} for step in steps])
        return
    for step in steps:
        say(step_as_text(step))
    say(f"{committed().name} takes all of it.")


@app.command("make-tiny")
def make_tiny_verb(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Models folder; WORKSPACE/models where not given.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 42,
    demo_data: Annotated[
        bool, typer.Option("--demo-data", help="Also draw a small dataset and its prompts in the workspace.")
    ] = False,
    pairs: Set = None,
) -> None:
    """Make a small model in Z-Image's layout, to rehearse a job where there is no GPU.

    Example: musabi models make-tiny --demo-data
    """
    from musabi.engines.diffusers.make_tiny import make_tiny

    settings = settings_from(pairs)
    made = make_tiny((folder or settings.space.models).absolute(), settings.hf_home, seed=seed, say=say)
    say(f"The tiny model is in {made}")
    if demo_data:
        from musabi.engines.diffusers.demo_data import make_demo_dataset

        make_demo_dataset(settings.space, seed=seed)
        say(f"The demo dataset is in {settings.space.images}")


def register(parent: typer.Typer) -> None:
    """Add these verbs to the command line."""
    parent.add_typer(app, name="models")
