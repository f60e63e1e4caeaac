"""The list of jobs that GET /jobs answers: what is asked for, and how a job stands in it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from musabi.serverless.http.limits import BadRequest
from musabi.serverless.queue.rows import Listed
from musabi.serverless.queue.states import CAN_BE_RETRIED, State
from musabi.serverless.request.look_up import at

DEFAULT_LIMIT = 20
MOST_LISTED = 100
MOST_BEFORE = 10**15
NAMES = {"huggingface": ("output.huggingface.repo_id",), "s3": ("output.s3.bucket", "output.s3.key_prefix")}
"""Where in an input the name of its destination stands, by method."""
LONGEST_NAME = 300
LONGEST_ERROR = 2000


@dataclass(frozen=True)
class Asked:
    """What a client wants to see: at most `limit` jobs, those after `before` in the list, those in `state`."""

    limit: int = DEFAULT_LIMIT
    before: int | None = None
    state: State | None = None


def read_asked(query: Mapping[str, str]) -> Asked:
    """Return what the address asks for.

    Raises:
        BadRequest: a number or a state that can't be.
    """
    state = query.get("status")
    if state is not None and state not in list(State):
        raise BadRequest(f"status must be one of {', '.join(State)}.")
    return Asked(
        _whole("limit", query.get("limit"), MOST_LISTED) or DEFAULT_LIMIT,
        _whole("before", query.get("before"), MOST_BEFORE),
        None if state is None else State(state),
    )


def _whole(name: str, value: str | None, most: int) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= len(str(most)) and 1 <= int(value) <= most):
        raise BadRequest(f"{name} must be a whole number from 1 to {most}.")
    return int(value)


def listed_answer(one: Listed, progress: dict[str, Any] | None, now: float) -> dict[str, Any]:
    """Return a job as it stands in the list; what is unknown is absent. Times are Unix seconds.

    `seconds` are those of work, `progress` is what it said last. The whole answer stands in /status: it may hold a
    hundred lines of a log.
    """
    job = one.job
    answer = job.output if isinstance(job.output, dict) else {}
    result = answer.get("output")
    found: dict[str, Any] = {
        "model": _text(at(one.input, "model_type")),
        **_destination(one.input),
        "started": job.first_started,
        "ended": job.ended,
        "seconds": None if job.first_started is None else round(job.seconds(now), 1),
        "progress": progress if job.output is None else None,
        "result": result if isinstance(result, dict) and result else None,
        "error": _text(answer.get("error"), LONGEST_ERROR) if job.state in CAN_BE_RETRIED else None,
        "retries": job.retries or None,
    }
    known = {name: value for name, value in found.items() if value is not None}
    return {"id": job.id, "status": job.state, "created": job.created} | known


def _destination(given: object) -> dict[str, str | None]:
    """Return the method of handing over, and the name of the repository or the place in the bucket."""
    asked = _text(at(given, "output.method"))
    method = asked or ("auto" if isinstance(given, Mapping) else None)
    for kind, places in NAMES.items():
        parts = [text for place in places if (text := _text(at(given, place)))]
        if parts and method in (kind, "auto"):
            return {"method": kind, "destination": "/".join(part.strip("/") for part in parts)}
    return {"method": method, "destination": None}


def _text(value: object, longest: int = LONGEST_NAME) -> str | None:
    """Return a text that says something. What a wrong request holds may be of any kind and length."""
    return value[:longest] if isinstance(value, str) and value.strip() else None
