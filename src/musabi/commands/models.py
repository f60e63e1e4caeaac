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

app = typer.Typer(help="Models: list them, download their files, make a tiny one.", no_args_is_help=True)
Patterns = Annotated[list[str] | None, typer.Option(help="Pattern of file names; may be repeated.")]


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
    name: Annotated[str, typer.Argument(help="A model of musabi models list, or OWNER/NAME on the hub.")],
    files: Annotated[
        list[str] | None, typer.Argument(help="Files of the repo; all where none is named.")
    ] = None,
    include: Patterns = None,
    exclude: Patterns = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.", show_default=False)] = None,
    repo_type: Annotated[str, typer.Option(help="model, dataset or space.")] = "model",
    local_dir: Annotated[
        Path | None, typer.Option(help="A plain folder for the files.", show_default=False)
    ] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="A hub cache.", show_default=False)] = None,
    max_workers: Annotated[
        int | None,
        typer.Option(help="Files at the same time; HF_MAX_WORKERS where not given.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print files and bytes, and fetch nothing.")
    ] = False,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Fetch what a model needs to train, or files of any repo. A transfer that stands still is taken up again.

    Example: musabi models download qwen-image --dry-run
    """
    from musabi.hub.access import Access
    from musabi.hub.download import DownloadRequest, download

    settings = settings_from(pairs, hf_max_workers=max_workers)
    access = Access(environment=os.environ | settings.child_environment, max_workers=settings.hf_max_workers)
    if "/" not in name:
        chosen = (files, include, exclude, revision, local_dir, cache_dir)
        if any(chosen):
            raise RequestError(
                f"{name} is a model, whose files are known. Give no more than its name, or OWNER/NAME of a repo."
            )
        _download_model(settings, access, name, dry_run=dry_run, as_json=as_json)
        return
    if dry_run:
        raise RequestError("--dry-run is for a model of musabi models list. Leave it out for a repo.")
    request = DownloadRequest(
        repo=name,
        files=tuple(files or ()),
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        revision=revision,
        repo_type=repo_type,
        local_dir=local_dir,
        cache_dir=cache_dir,
        max_workers=settings.hf_max_workers,
    )
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
