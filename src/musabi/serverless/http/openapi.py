"""The description of the HTTP interface: /openapi.json for programs, /docs for people, from the same tables."""

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from musabi import __version__
from musabi.serverless.http.limits import DEFAULT_WAIT_MS, MOST_RUN, MOST_RUNSYNC, MOST_SMALL, WAIT_MS
from musabi.serverless.http.listing import DEFAULT_LIMIT, MOST_BEFORE, MOST_LISTED
from musabi.serverless.http.openapi_examples import ANSWERS, REQUESTS, RETRY
from musabi.serverless.http.openapi_schemas import SCHEMAS, STATE
from musabi.templating import environment

if TYPE_CHECKING:
    from jinja2 import Environment

ERRORS = {
    400: "The request is wrong; the sentence says how.",
    401: "The key is missing or wrong.",
    404: "There is no such job, or no more.",
    413: "The request is too large.",
    429: "As many jobs wait as may wait; Retry-After says when to come again.",
    503: "The disk or the queue does not answer; the sentence says what to do.",
}
JOB_ID = {
    "name": "job_id",
    "in": "path",
    "required": True,
    "description": "What /run answered as id.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
}
WAIT = {
    "name": "wait",
    "in": "query",
    "description": "How long to wait for the answer, in milliseconds.",
    "schema": {"type": "integer", "minimum": WAIT_MS[0], "maximum": WAIT_MS[1], "default": DEFAULT_WAIT_MS},
}

LISTED = (
    {
        "name": "limit",
        "in": "query",
        "description": "How many jobs at most.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": DEFAULT_LIMIT},
    },
    {
        "name": "before",
        "in": "query",
        "description": "Where the list goes on: the next of the answer before.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MOST_BEFORE},
    },
    {"name": "status", "in": "query", "description": "Only jobs in this state.", "schema": STATE},
)


@dataclass(frozen=True)
class Operation:
    """A path: what it does, its parameters, body (schema, examples, most bytes), answer, and errors besides 401."""

    path: str
    method: str
    summary: str
    answer: str
    body: tuple[str, dict[str, Any], int] | None = None
    parameters: tuple[dict[str, Any], ...] = ()
    errors: tuple[int, ...] = (400, 503)


OF_JOB = (400, 404, 503)
OPERATIONS = (
    Operation(
        "/run",
        "post",
        "Send a job; the answer comes at once, the job waits its turn.",
        "Submitted",
        ("Request", REQUESTS, MOST_RUN),
        errors=(400, 413, 429, 503),
    ),
    Operation(
        "/runsync",
        "post",
        "Send a job and wait for its answer.",
        "Status",
        ("Request", REQUESTS, MOST_RUNSYNC),
        (WAIT,),
        (400, 404, 413, 429, 503),
    ),
    Operation(
        "/jobs",
        "get",
        "The jobs, those sent last first. musabi serve alone has this path.",
        "Jobs",
        None,
        LISTED,
    ),
    Operation(
        "/status/{job_id}",
        "get",
        "How a job stands: its progress, or its answer.",
        "Status",
        None,
        (JOB_ID,),
        OF_JOB,
    ),
    Operation(
        "/stream/{job_id}",
        "get",
        "The progress since the last call, and the answer once.",
        "Stream",
        None,
        (JOB_ID,),
        OF_JOB,
    ),
    Operation(
        "/cancel/{job_id}",
        "post",
        "Call a job off; what was trained is kept for a retry.",
        "Submitted",
        None,
        (JOB_ID,),
        OF_JOB,
    ),
    Operation(
        "/retry/{job_id}",
        "post",
        "Send a job again that failed, was cancelled or timed out. It goes on from what is kept.",
        "Submitted",
        ("Retry", RETRY, MOST_SMALL),
        (JOB_ID,),
        (400, 404, 413, 429, 503),
    ),
    Operation("/purge-queue", "post", "Cancel every job that waits.", "Purged"),
    Operation("/health", "get", "How many jobs there are, and how many GPUs are busy.", "Health"),
)


@cache
def document() -> dict[str, Any]:
    """Return the interface as an OpenAPI 3.1 document."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "musabi endpoint",
            "version": __version__,
            "description": "Trains a LoRA with one request. The paths are those of a Runpod Serverless endpoint, "
            "and are answered under /v2/ANY_NAME/ too.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _described(operation: Operation) -> dict[str, Any]:
    answers = {"200": _content("Done.", operation.answer, ANSWERS[operation.answer])}
    answers |= {str(status): _content(ERRORS[status], "Error", {}) for status in (401, *operation.errors)}
    found: dict[str, Any] = {"summary": operation.summary, "responses": answers}
    if operation.parameters:
        found["parameters"] = list(operation.parameters)
    if operation.body is not None:
        schema, examples, most = operation.body
        size = f"{most // 10**6} MB" if most >= 10**6 else f"{most // 1000} kB"
        required = {"required": schema == "Request"}
        found["requestBody"] = _content(f"JSON, at most {size}.", schema, examples) | required
    return found


def _content(description: str, schema: str, examples: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    if examples:
        content["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {"description": description, "content": {"application/json": content}}


@cache
def page(template: str) -> str:
    """Return a page of templates/ as HTML. Everything that it shows is in it."""
    return _environment().get_template(template).render(version=__version__, paths=_sections())


def _sections() -> list[dict[str, Any]]:
    return [
        {
            "path": operation.path,
            "method": operation.method.upper(),
            "summary": operation.summary,
            "parameters": operation.parameters,
            "fields": _rows(SCHEMAS[operation.body[0]]) if operation.body else [],
            "requests": _texts(operation.body[1]) if operation.body else {},
            "answers": _texts(ANSWERS[operation.answer]),
            "errors": [(status, ERRORS[status]) for status in (401, *operation.errors)],
        }
        for operation in OPERATIONS
    ]


def _rows(schema: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, str(value.get("description", ""))) for name, value in schema.get("properties", {}).items()]


def _texts(examples: dict[str, Any]) -> dict[str, str]:
    return {name: json.dumps(value, indent=2) for name, value in examples.items()}


@cache
def _environment() -> "Environment":
    return environment("musabi.serverless.http")
