"""Verbs for jobs on endpoints: jobs, jobs watch, jobs cancel, jobs retry."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from musabi.commands.asking_endpoints import Asking, find, of_endpoint, remembered
from musabi.commands.options import Json
from musabi.commands.show import say_json
from musabi.commands.watching_jobs import look_on, show
from musabi.errors import RequestError

if TYPE_CHECKING:
    from musabi.serverless.client.endpoint import Endpoint
    from musabi.serverless.client.remembered import KnownJob, Remembered

SHOWN_SECONDS = 24 * 3600.0
KEPT_BY_RUNPOD = (
    "Runpod keeps what was sent, secrets too, and its /retry takes nothing else. Retry {id} without a file; to send "
    "other secrets, submit it again."
)
NAME_THE_FILE = "{problem}\nName the file with the secrets: musabi jobs retry {id} --request FILE"

jobs_app = typer.Typer(name="jobs", invoke_without_command=True)
Where = Annotated[
    str | None,
    typer.Option("--endpoint", help="Only those of this endpoint.", show_default=False),
]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids of musabi jobs; their first letters will do.")]


@jobs_app.callback()
def list_verb(
    context: typer.Context,
    endpoint: Where = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what ended more than a day ago.")] = False,
    as_json: Json = False,
) -> None:
    """Jobs on endpoints: how those stand that were submitted from here.

    Example: musabi jobs --endpoint abc123
    """
    if context.invoked_subcommand is not None:
        return
    known = remembered()
    mine = of_endpoint(known, endpoint)
    chosen = mine if everything else recent(mine)
    with Asking(known) as asking:
        jobs = asking.look(chosen)
    if as_json:
        say_json({"jobs": [asdict(job) for job in jobs], "notes": list(asking.trouble)})
        return
    show(jobs, asking.trouble)


@jobs_app.command("watch")
def watch_verb(endpoint: Where = None, as_json: Json = False) -> None:
    """Look on until all jobs have ended. Ctrl-C leaves them running.

    Example: musabi jobs watch
    """
    known = remembered()
    look_on(known, recent(of_endpoint(known, endpoint)), as_json=as_json)


@jobs_app.command("cancel")
def cancel_verb(
    ids: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="All that have not ended.")] = False,
    endpoint: Where = None,
    as_json: Json = False,
) -> None:
    """End jobs. What they trained so far is kept on the endpoint's volume.

    Example: musabi jobs cancel 3f2a9c1b
    """
    known = remembered()
    if bool(ids) == everything:
        raise RequestError("Say which: ids of musabi jobs, or --all.")
    chosen = (
        [job for job in of_endpoint(known, endpoint) if not job.has_ended]
        if everything
        else [find(one, known.jobs(), endpoint) for one in ids or ()]
    )
    act(known, chosen, lambda there, job: (there.cancel(job.id), None), as_json=as_json)


@jobs_app.command("retry")
def retry_verb(
    ids: Ids = None,
    endpoint: Where = None,
    request: Annotated[
        Path | None,
        typer.Option(
            "--request",
            help="Send the secrets of this request or job file again; that of musabi submit where not given.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        str | None, typer.Option("--images", help="With --request: the address of the images again.")
    ] = None,
    videos: Annotated[
        str | None, typer.Option("--videos", help="With --request: the address of the videos again.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Let jobs that failed or timed out go on where they were; with musabi serve cancelled ones, too.

    musabi serve gets the secrets of the file again: it keeps them for a while only. Nothing else of it is sent.

    Example: musabi jobs retry 3f2a9c1b --request request.json
    """
    from musabi.serverless.client.secrets_again import secrets_in_file

    known = remembered()
    if not ids:
        raise RequestError("Say which: ids of musabi jobs.")
    if request is None and (images or videos):
        raise RequestError("--images and --videos go with --request FILE. Name the file, too.")
    secrets = secrets_in_file(request, images, videos) if request is not None else None
    chosen = [find(one, known.jobs(), endpoint) for one in ids]
    act(known, chosen, lambda there, job: retry(there, job, secrets), as_json=as_json)


def retry(
    there: "Endpoint", job: "KnownJob", secrets: dict[str, str] | None
) -> tuple[dict[str, Any], str | None]:
    """Retry a job with these secrets, or with those of the file that it was submitted from.

    Return what the endpoint answered, and what is to be said besides.

    Raises:
        RequestError: it can't be retried.
    """
    from musabi.serverless.client.endpoint import RUNPOD
    from musabi.serverless.client.secrets_again import remembered_secrets, retry_body

    note = None
    if there.where.url.startswith(RUNPOD):
        if secrets is not None:
            raise RequestError(KEPT_BY_RUNPOD.format(id=job.id))
        return there.retry(job.id), note
    if secrets is None:
        secrets, note = remembered_secrets(job)
    try:
        return there.retry(job.id, retry_body(secrets)), note
    except RequestError as problem:
        if "secrets" not in str(problem):
            raise
        raise RequestError(NAME_THE_FILE.format(problem=problem, id=job.id)) from None


def recent(jobs: "Sequence[KnownJob]") -> "list[KnownJob]":
    """Return the jobs that go on, and those that ended within a day."""
    since = time.time() - SHOWN_SECONDS
    return [job for job in jobs if not job.has_ended or (job.seen or job.submitted) > since]


def act(
    known: "Remembered",
    jobs: "Sequence[KnownJob]",
    do: "Callable[[Endpoint, KnownJob], tuple[dict[str, Any], str | None]]",
    *,
    as_json: bool,
) -> None:
    """Do something with each job, and say in which state it is then; `do` returns an answer and perhaps a note."""
    changed: list[KnownJob] = []
    notes: list[str] = []
    with Asking(known) as asking:
        for job in jobs:
            answer, note = do(asking.there(job), job)
            notes += [note] if note else []
            state = str(answer.get("status", job.state))
            if job.has_ended and state == job.state:
                changed.append(job)  # it stays as it is, and so does what is known of it
                continue
            new = replace(job, state=state, error=None, output=None, seconds=None)
            known.put([new])
            changed.append(new)
    if as_json:
        say_json({"jobs": [asdict(job) for job in changed], "notes": notes})
    else:
        show(changed, notes)


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.add_typer(jobs_app)
