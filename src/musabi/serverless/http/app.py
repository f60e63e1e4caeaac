"""The HTTP interface of `musabi serve`: Runpod's paths over the queue of this machine."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from musabi.job.os_errors import plain_os_error
from musabi.serverless.http import openapi
from musabi.serverless.http.gate import Gate
from musabi.serverless.http.limits import (
    BODY_SECONDS,
    MOST_RUN,
    MOST_RUNSYNC,
    MOST_SMALL,
    BadRequest,
    parse_body,
    read_limited,
    read_wait,
)
from musabi.serverless.http.listing import read_asked
from musabi.serverless.http.service import NoJob, Service
from musabi.serverless.queue.states import ENDED
from musabi.serverless.queue.store import Full

LOOK_SECONDS = 0.2
RETRY_AFTER_SECONDS = 30
WORDS = {
    404: "There is nothing at this address. The paths stand in /docs.",
    405: "This path takes another method. The paths stand in /docs.",
}
UNEXPECTED = "Something unexpected went wrong. It stands in the server's log. Please report it."


def make_app(service: Service, key: str | None) -> Gate:
    """Return the ASGI application; `key` is asked of every client, None: this machine alone is answered."""
    handlers = Handlers(service)
    routes = [
        Route("/run", handlers.run, methods=["POST"]),
        Route("/runsync", handlers.runsync, methods=["POST"]),
        Route("/jobs", handlers.jobs, methods=["GET"]),
        Route("/status/{job_id}", of_job(service.status), methods=["GET"]),
        Route("/stream/{job_id}", of_job(service.stream), methods=["GET"]),
        Route("/cancel/{job_id}", of_job(service.cancel), methods=["POST"]),
        Route("/retry/{job_id}", handlers.retry, methods=["POST"]),
        Route("/purge-queue", plain(service.purge), methods=["POST"]),
        Route("/health", plain(service.health), methods=["GET"]),
        Route("/", page("endpoint.html.j2"), methods=["GET"]),
        Route("/docs", page("docs.html.j2"), methods=["GET"]),
        Route("/openapi.json", plain(openapi.document), methods=["GET"]),
    ]
    app = Starlette(routes=routes, exception_handlers=ANSWERS)
    app.router.redirect_slashes = False
    return Gate(app, key)


class Handlers:
    """The paths that read a body or a query. What touches the disk runs in a thread, so that nobody waits for it."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def run(self, request: Request) -> Response:
        """POST /run."""
        body = await body_of(request, MOST_RUN)
        return JSONResponse(await run_in_threadpool(self._service.submit, body))

    async def runsync(self, request: Request) -> Response:
        """POST /runsync?wait=MILLISECONDS."""
        wait_s = read_wait(request.query_params.get("wait"))
        body = await body_of(request, MOST_RUNSYNC)
        job_id = str((await run_in_threadpool(self._service.submit, body, "sync-"))["id"])
        deadline = time.monotonic() + wait_s
        while (await run_in_threadpool(self._service.job, job_id)).state not in ENDED:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            await asyncio.sleep(min(LOOK_SECONDS, left))
        return JSONResponse(await run_in_threadpool(self._service.status, job_id))

    def jobs(self, request: Request) -> Response:
        """GET /jobs?limit=&before=&status=. Starlette runs it in a thread."""
        return JSONResponse(self._service.jobs(read_asked(request.query_params)))

    async def retry(self, request: Request) -> Response:
        """POST /retry/ID."""
        body = await body_of(request, MOST_SMALL)
        return JSONResponse(await run_in_threadpool(self._service.retry, request.path_params["job_id"], body))


async def body_of(request: Request, most: int) -> dict[str, Any]:
    """Return the JSON object of a request of at most `most` bytes.

    Raises:
        BadRequest: it is too large, no JSON object, or does not arrive.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await read_limited(request.stream(), most)
    except TimeoutError:
        raise BadRequest(f"The request did not arrive within {BODY_SECONDS:.0f} seconds.") from None
    return await run_in_threadpool(parse_body, body)


def of_job(answer: Callable[[str], dict[str, Any]]) -> Callable[[Request], Response]:
    """Return the handler of a path that names a job. Starlette runs it in a thread."""
    return lambda request: JSONResponse(answer(request.path_params["job_id"]))


def plain(answer: Callable[[], dict[str, Any]]) -> Callable[[Request], Response]:
    """Return the handler of a path that takes nothing."""
    return lambda _request: JSONResponse(answer())


def page(template: str) -> Callable[[Request], Response]:
    """Return the handler of a page; nothing in it comes from elsewhere."""
    return lambda _request: HTMLResponse(openapi.page(template))


def no(status: int, error: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error as the endpoint says it."""
    return JSONResponse({"error": error}, status, headers=headers)


def in_words(problem: Exception) -> Response:
    """Return the answer to what went wrong."""
    match problem:
        case BadRequest():
            return no(problem.status, str(problem))
        case NoJob():
            return no(404, "There is no such job, or no more. Check the id that /run answered.")
        case Full():
            text = "As many jobs wait as may wait here (ENDPOINT_MOST_WAITING). Try again later."
            return no(429, text, {"Retry-After": str(RETRY_AFTER_SECONDS)})
        case HTTPException():
            return no(problem.status_code, WORDS.get(problem.status_code, problem.detail), problem.headers)
        case sqlite3.Error():
            text = f"The queue can't be read or written now ({problem}). Make room on the volume, then try again."
            return no(503, text)
        case OSError():
            return no(503, plain_os_error(problem))
    return no(500, UNEXPECTED)  # Starlette raises it again, so that the server logs it


async def answer_problem(_request: Request, problem: Exception) -> Response:
    """Answer what goes wrong in plain words, never with a traceback."""
    return in_words(problem)


ANSWERS: dict[type[Exception], Any] = dict.fromkeys(
    (BadRequest, NoJob, Full, HTTPException, sqlite3.Error, OSError, Exception), answer_problem
)
