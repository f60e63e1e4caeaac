"""The verb that begins a job: init."""

from pathlib import Path
from typing import Annotated

import typer

from musabi.commands.show import say
from musabi.errors import RequestError
from musabi.recipes import load
from musabi.recipes.job_files import dataset_file, job_file, prompts_file
from musabi.whole import write_text


def init_verb(
    model: Annotated[str, typer.Argument(help="A name of musabi models list.")],
    folder: Annotated[Path, typer.Argument(help="The folder to write the files into.")],
) -> None:
    """Write a job file, a dataset TOML and sample prompts for a model, with comments that say what to change.

    Example: musabi init z-image my-lora
    """
    recipe, place = load(model), folder.absolute()
    if place.exists() and not place.is_dir():
        raise RequestError(f"{place} is a file. Name a folder.")
    files = {
        "job.toml": job_file(recipe, folder),
        "dataset.toml": dataset_file(recipe, place),
        "sample_prompts.txt": prompts_file(recipe, place),
    }
    there = [name for name in files if (place / name).exists()]
    if there:
        raise RequestError(f"{place / there[0]} is there already. Name another folder, or move it away.")
    kind = "videos" if 'video_directory = "' in files["dataset.toml"] else "images"
    for name in (kind, *(["control"] if "control_directory = " in files["dataset.toml"] else [])):
        (place / name).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_text(place / name, text)
    say(
        f"Put the {kind} with their captions into {folder / kind}, look at {folder / 'job.toml'}, "
        f"then: musabi run {folder / 'job.toml'}"
    )


def register(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command("init")(init_verb)
