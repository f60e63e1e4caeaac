"""Verbs on model files: download from the hub, make a tiny model to rehearse with."""

import os
from pathlib import Path
from typing import Annotated

import typer

from musabi.commands.options import Json, Set, settings_from
from musabi.commands.show import say, say_json

app = typer.Typer(help="Model files: download them, or make a tiny model.", no_args_is_help=True)
Patterns = Annotated[list[str] | None, typer.Option(help="Pattern of file names; may be repeated.")]


@app.command("download")
def download_verb(
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the hub.")],
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
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Fetch files of a repo. A transfer that stands still is taken up again.

    Example: musabi models download Tongyi-MAI/Z-Image --include "vae/*" --local-dir models/z-image
    """
    from musabi.hub.access import Access
    from musabi.hub.download import DownloadRequest, download

    settings = settings_from(pairs, hf_max_workers=max_workers)
    request = DownloadRequest(
        repo=repo,
        files=tuple(files or ()),
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        revision=revision,
        repo_type=repo_type,
        local_dir=local_dir,
        cache_dir=cache_dir,
        max_workers=settings.hf_max_workers,
    )
    access = Access(environment=os.environ | settings.child_environment, max_workers=settings.hf_max_workers)
    place = download(request, access, say=(lambda _text: None) if as_json else say)
    say_json({"path": str(place)}) if as_json else say(f"Downloaded to {place}")


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
