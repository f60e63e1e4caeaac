"""The options that several verbs share, and how they become settings and a job."""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from musabi.children import is_secret_name
from musabi.errors import RequestError
from musabi.recipes.load import OWN_FOLDER
from musabi.settings import Settings, load

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Any setting of the README's table, such as network_dim=16."
    ),
]
EngineOption = Annotated[
    str | None, typer.Option("--engine", help="musubi or diffusers; auto means musubi.", show_default=False)
]
NameOption = Annotated[
    str | None, typer.Option("--output-name", help="Name of the LoRA files.", show_default=False)
]
MissingCaptions = Annotated[
    bool, typer.Option("--allow-missing-captions", help="Leave out images that have no caption.")
]
PATHS = frozenset(
    name for name, field in Settings.model_fields.items() if field.annotation in (Path, Path | None)
)
ModelOption = Annotated[
    str | None, typer.Option("--model", help="A name of musabi models list.", show_default=False)
]
OptimizerOption = Annotated[
    str | None, typer.Option("--optimizer", help="prodigy, adamw8bit or adamw.", show_default=False)
]
GpusOption = Annotated[
    str | None,
    typer.Option(
        "--gpus",
        help="all, the number to train on, or each: one run a GPU with its own seed.",
        show_default=False,
    ),
]


def settings_from(pairs: list[str] | None = None, **named: Any) -> Settings:  # noqa: ANN401 - any setting
    """Return the settings: the environment, over it `--set` pairs, over them named options.

    A switch that was not given is no word against the environment, so False counts as not given.

    Raises:
        RequestError: a pair is not NAME=VALUE, or a value cannot be right.
    """
    given: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise RequestError(f'--set {pair} is not NAME=VALUE. Write it like "--set network_dim=16".')
        if is_secret_name(name.strip()):
            raise RequestError(
                f"--set {name} would show a secret to everyone who lists processes. Export it instead."
            )
        given[name.strip().lower()] = value
    return _with_recipes(load(os.environ, given | _given(named)))


def job_file_settings(path: Path, named: dict[str, Any]) -> Settings:
    """Return the settings of a job file: TOML with the settings' names in lower case.

    Relative paths in it are relative to the file's own folder, so that a job can be moved.

    Raises:
        RequestError: the file is not there, is no TOML, or holds a wrong key or value.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except IsADirectoryError:
        raise RequestError(f"{path} is a folder. Name the job file in it: {path / 'job.toml'}.") from None
    except FileNotFoundError:
        raise RequestError(
            f"The job file {path} is not there. Make one with: musabi init z-image ."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise RequestError(f"The job file {path} is not TOML: {wrong}.") from None
    places = {
        name: str(path.absolute().parent / value)
        for name, value in values.items()
        if name in PATHS and isinstance(value, str) and value and not value.startswith("~")
    }
    return _with_recipes(load(os.environ, values | places | _given(named)))


def _with_recipes(settings: Settings) -> Settings:
    """Let recipes be found where the settings say, from wherever that was set."""
    if settings.musabi_recipes is not None:
        os.environ[OWN_FOLDER] = str(settings.musabi_recipes)
    return settings


def _given(named: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in named.items() if value is not None and value is not False}
