"""The verb that sends jobs to an endpoint: submit."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from musabi.commands.asking_endpoints import connected, remembered
from musabi.commands.options import Json
from musabi.commands.show import say, say_json
from musabi.commands.watching_jobs import look_on
from musabi.errors import ExitCode, MusabiError, RequestError

if TYPE_CHECKING:
    from musabi.serverless.client.endpoint import Endpoint
    from musabi.serverless.client.remembered import KnownJob, Remembered
    from musabi.serverless.client.submission import Submission

EndpointOption = Annotated[
    str,
    typer.Option(
        "--endpoint",
        help="Id of an endpoint on Runpod (key in RUNPOD_API_KEY), or the address of a musabi serve "
        "(key in MUSABI_API_KEY).",
    ),
]


def submit_verb(
    file: Annotated[Path, typer.Argument(help="A request as JSON, or a job file (TOML).")],
    endpoint: EndpointOption,
    count: Annotated[
        int, typer.Option("--count", min=1, max=1000, help="So many jobs, each with a seed of its own.")
    ] = 1,
    images: Annotated[str | None, typer.Option("--images", help="Address of an archive of images.")] = None,
    videos: Annotated[str | None, typer.Option("--videos", help="Address of an archive of videos.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Look on until they have ended.")] = False,
    as_json: Json = False,
) -> None:
    """Send a training to an endpoint, once or several times. It may be billed from here on.

    Example: musabi submit request.json --endpoint abc123 --count 4 --wait
    """
    from musabi.serverless.client.endpoint import RUNPOD
    from musabi.serverless.client.endpoint import endpoint as endpoint_of
    from musabi.serverless.client.submission import read_submission, with_time

    submission = read_submission(file, images, videos)
    if endpoint_of(endpoint).url.startswith(RUNPOD):
        submission = with_time(submission)
    require_sound(submission)
    if not as_json:
        for line in submission.said:
            say(f"Note: {line}")
    known, whence = remembered(), (str(file.absolute()), images is None and videos is None)
    with connected(endpoint) as there:
        sent = send_all(there, submission, count, known, whence)
    if not as_json:
        for job in sent:
            say(f"{job.name}: {job.id}")
    if wait or all(job.has_ended for job in sent):
        look_on(known, sent, as_json=as_json, just_sent=True)
    elif as_json:
        say_json({"jobs": [{"id": job.id, "name": job.name, "state": job.state} for job in sent]})
    else:
        say("See how they stand with: musabi jobs watch")


def require_sound(submission: "Submission") -> None:
    """Refuse a request here that the endpoint would refuse, before a worker is started for it.

    Secrets count as there: the endpoint may have them.

    Raises:
        RequestError: it has a mistake; all of them are named.
    """
    from musabi.serverless.request.mistakes import Refused
    from musabi.serverless.request.model import read_request
    from musabi.serverless.request.secrets import SECRET_PATHS, split_secrets

    try:
        masked, _ = split_secrets(submission.body["input"])
        read_request(masked, secrets=dict.fromkeys(SECRET_PATHS, "present"))
    except Refused as refused:
        told = [f"{mistake.path}: {mistake.message}" for mistake in refused.mistakes]
        raise RequestError("The request has mistakes, so it was not sent.\n" + "\n".join(told)) from None


def send_all(
    there: "Endpoint", submission: "Submission", count: int, known: "Remembered", whence: tuple[str, bool]
) -> "list[KnownJob]":
    """Submit the jobs one after another; each is remembered as soon as it is taken.

    `whence` is the file they are in, and whether it holds the dataset's addresses, too.

    Raises:
        MusabiError: one was not taken; the message says how many were.
    """
    from musabi.serverless.client.remembered import KnownJob
    from musabi.serverless.client.submission import numbered

    sent: list[KnownJob] = []
    for body in numbered(submission.body, count):
        try:
            answer = there.run(body)
        except MusabiError as problem:
            told = f"\n{len(sent)} of {count} jobs were taken before that: see musabi jobs." if sent else ""
            raise type(problem)(f"{problem}{told}") from None
        except KeyboardInterrupt:
            say(f"{len(sent)} of {count} jobs were taken, and go on; perhaps one more. Look at: musabi jobs")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        job = known_job_of(answer, body, there.where.name, submission.name, count)
        job = replace(job, file=whence[0], dataset_in_file=whence[1])
        known.put([job])
        if job.has_ended:
            known.put([job := with_reason(there, job)])
        sent.append(job)
    return sent


def with_reason(there: "Endpoint", job: "KnownJob") -> "KnownJob":
    """Return a job that had ended as it was taken with what its endpoint says of it, where it says it."""
    from musabi.serverless.client.asking import seen

    with suppress(MusabiError):
        return seen(job, there.status(job.id))
    return job


def known_job_of(
    answer: dict[str, Any], body: dict[str, Any], endpoint: str, name: str, count: int
) -> "KnownJob":
    """Return a job that was taken, as it is remembered."""
    from musabi.serverless.client.remembered import KnownJob

    if not isinstance(answer.get("id"), str):
        raise RequestError(
            "The endpoint took the job without giving it an id. Is it an endpoint of this kind?"
        )
    suffix = f"-seed{body['input']['training']['seed']}" if count > 1 else ""
    return KnownJob(answer["id"], endpoint, name + suffix, state=str(answer.get("status", "IN_QUEUE")))


def register(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command("submit")(submit_verb)
