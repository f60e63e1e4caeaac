"""The options that several verbs share, and how they become settings and a job."""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from musabi.children import NOT_SECRET, SECRET_NAME
from musabi.errors import RequestError
from musabi.job.model import Job, OptimizerName
from musabi.settings import Settings, load, make_job

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
OptimizerOption = Annotated[str, typer.Option("--optimizer", help="prodigy, adamw8bit or adamw.")]
OPTIMIZERS: dict[str, OptimizerName] = {"prodigy": "prodigy", "adamw8bit": "adamw8bit", "adamw": "adamw"}


def settings_from(pairs: list[str] | None = None, **named: Any) -> Settings:  # noqa: ANN401 - any setting
    """Return the settings: the environment, over it `--set` pairs, over them named options.

    Raises:
        RequestError: a pair is not NAME=VALUE, or a value cannot be right.
    """
    given: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise RequestError(f'--set {pair} is not NAME=VALUE. Write it like "--set network_dim=16".')
        if SECRET_NAME.search(name.upper()) and not NOT_SECRET.search(name.upper().strip()):
            raise RequestError(
                f"--set {name} would show a secret to everyone who lists processes. Export it instead."
            )
        given[name.strip().lower()] = value
    return load(os.environ, given | {name: value for name, value in named.items() if value is not None})


def job_file_settings(path: Path, named: dict[str, Any]) -> tuple[Settings, str]:
    """Return the settings and the optimizer of a job file: TOML with the settings' names in lower case.

    Raises:
        RequestError: the file is not there, is no TOML, or holds a wrong key or value.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(f"The job file {path} is not there.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise RequestError(f"The job file {path} is not TOML: {wrong}.") from None
    optimizer = str(values.pop("optimizer", "prodigy"))
    given = {name: value for name, value in named.items() if value is not None}
    return load(os.environ, values | given), optimizer


def job_from(settings: Settings, optimizer: str, **more: Any) -> Job:  # noqa: ANN401 - Job's own fields
    """Return the job that the settings describe.

    Raises:
        RequestError: the optimizer is unknown.
    """
    name = OPTIMIZERS.get(optimizer.lower())
    if name is None:
        raise RequestError(f'There is no optimizer "{optimizer}". Choose one of {", ".join(OPTIMIZERS)}.')
    return make_job(settings, name, **more)
