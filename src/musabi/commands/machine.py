"""The verb that sets a machine up: bootstrap."""

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer

from musabi.commands.options import Json, Set, settings_from
from musabi.settings import Settings

if TYPE_CHECKING:
    from musabi.pod.bootstrap.options import BootstrapOptions


def bootstrap_verb(
    engine_name: Annotated[
        str | None,
        typer.Option(
            "--engine",
            help="musubi, diffusers or diffusion_pipe (for the endpoint); auto means musubi.",
            show_default=False,
        ),
    ] = None,
    pairs: Set = None,
    as_json: Json = False,
    weights: Annotated[
        bool | None,
        typer.Option("--weights/--no-weights", help="Fetch the weights or not.", show_default=False),
    ] = None,
) -> None:
    """Set the workspace up: folders, templates, musubi-tuner, its environment, weights.

    What is done already is proven and skipped. --engine diffusion_pipe fetches diffusion-pipe for the endpoint.
    Example: musabi bootstrap --engine diffusers
    """
    from musabi.pod.bootstrap.run import bootstrap

    pipe = engine_name == "diffusion_pipe"  # an environment to make, and no trainer of musabi run
    settings = settings_from(pairs, engine=None if pipe else engine_name)
    profile = "diffusion_pipe" if pipe else "diffusers" if settings.engine == "diffusers" else "musubi"
    code = bootstrap(bootstrap_options(settings), profile=profile, json=as_json, weights=weights)
    raise typer.Exit(int(code))


def bootstrap_options(settings: Settings) -> "BootstrapOptions":
    """Return the settings that the bootstrap reads."""
    from musabi.pod.bootstrap.options import BootstrapOptions

    names = [field.name for field in fields(BootstrapOptions) if field.name in Settings.model_fields]
    return BootstrapOptions(**{name: getattr(settings, name) for name in names})


def register(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command("bootstrap")(bootstrap_verb)
