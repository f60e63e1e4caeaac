"""Verbs of the running container: boot, health, url."""

import json
import os
from typing import Annotated

import typer

from musabi.errors import ExitCode

# The image asks for its health every few seconds, so this module leaves the settings' own imports alone.
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def boot_verb() -> None:
    """Boot the pod and supervise it: what the image's entrypoint runs.

    Example: musabi boot
    """
    from musabi.pod.boot.sequence import boot

    raise typer.Exit(boot())


def health_verb(as_json: Json = False) -> None:
    """Tell whether JupyterLab answers; exit code 3 and one line why, where it does not.

    Example: musabi health
    """
    from musabi.pod.health import health

    why = health(os.environ)
    print(json.dumps({"healthy": why is None, "message": why}) if as_json else why or "JupyterLab answers.")
    raise typer.Exit(int(ExitCode.DONE if why is None else ExitCode.MACHINE_CANNOT))


def url_verb(as_json: Json = False) -> None:
    """Print the address that opens JupyterLab, with its token. Don't show it to others.

    Example: musabi url
    """
    from musabi.pod.health import address_with_token

    address = address_with_token(os.environ)
    print(json.dumps({"url": address}) if as_json else address)


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command("boot")(boot_verb)
    app.command("health")(health_verb)
    app.command("url")(url_verb)
