"""The verb that shows the run page on this machine: page."""

import os
import sys
import webbrowser
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated

import typer

from musabi.commands.show import say
from musabi.errors import ExitCode, MachineError

PACKAGES = ("starlette", "uvicorn")


def page_verb(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1; 0 for any that is free.")
    ] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Don't open a browser.")] = False,
) -> None:
    """Show the run page: pod, dataset, trainings, runs and endpoint in a browser. Ctrl-C ends it.

    On a pod it is behind JupyterLab already: the tile Run page. From afar: ssh -L 7800:127.0.0.1:7800, --port 7800.

    Example: musabi page --port 7800 --no-browser
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise MachineError(
                f"musabi page needs the package {package}. In a checkout run scripts/setup.sh pod, else: "
                'pip install "musabi[pod]"'
            )
    from musabi.watch.page.server import serve_on_port

    def ready(address: str) -> None:
        say(
            f"The run page is at {address} until Ctrl-C. The address holds the key to it: keep it to yourself."
        )
        if not no_browser and has_screen(os.environ, sys.platform):
            webbrowser.open(address)

    try:
        serve_on_port(os.environ, port, ready)
    except KeyboardInterrupt:
        say("The page is closed. What it started goes on.")
        sys.exit(int(ExitCode.INTERRUPTED))
    say("The page is closed. What it started goes on.")


def has_screen(environ: Mapping[str, str], platform: str) -> bool:
    """Tell whether a browser can be opened where a person sees it: never on a pod, nor over ssh."""
    if environ.get("RUNPOD_POD_ID") or environ.get("SSH_CONNECTION"):
        return False
    if not platform.startswith("linux"):
        return True
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("page")(page_verb)
