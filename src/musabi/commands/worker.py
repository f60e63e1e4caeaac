"""The verb of a Runpod Serverless worker: worker."""

import os

import typer


def worker_verb() -> None:
    """Do the jobs of a Runpod Serverless endpoint: what the serverless image runs.

    Example: musabi worker
    """
    from musabi.serverless.worker.runpod_worker import serve

    serve(os.environ)


def register(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command("worker")(worker_verb)
