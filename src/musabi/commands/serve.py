"""The verb that answers HTTP requests: serve."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from musabi.commands.show import say


def serve_verb(
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on; 127.0.0.1 where not given.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port; 8000 where not given, 0 for any.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="Folder of jobs and models; ENDPOINT_ROOT where not given.")
    ] = None,
) -> None:
    """Train LoRAs for HTTP clients: the paths of a Runpod endpoint, one job a GPU, the others wait.

    Set MUSABI_API_KEY to let others than this machine in. Ctrl-C lets running jobs save; they go on next time.

    Example: musabi serve --port 8000
    """
    from musabi.machine import machine_facts
    from musabi.serverless.http.server import Options, serve
    from musabi.serverless.missing_package import missing_package
    from musabi.serverless.places import places
    from musabi.serverless.settings import load
    from musabi.settings import load as pod_settings

    for package in ("starlette", "uvicorn"):
        if find_spec(package) is None:
            raise missing_package("serve", package)
    settings, of_pod = load(os.environ), pod_settings(os.environ)
    options = Options(
        settings=settings,
        places=places(of_pod.workspace, root.absolute() if root else settings.endpoint_root),
        state_dir=of_pod.musabi_state_dir.expanduser(),
        machine=machine_facts(),
        environ=os.environ,
        host=host or settings.endpoint_host,
        port=settings.endpoint_port if port is None else port,
    )
    sys.exit(int(serve(options, lambda text: say(text))))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("serve")(serve_verb)
