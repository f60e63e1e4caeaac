"""Asks endpoints how jobs stand, several at a time, and takes in what they say."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from musabi.errors import MachineError
from musabi.serverless.client.endpoint import GoneError
from musabi.serverless.client.remembered import KnownJob
from musabi.watch.card import one_line

AT_A_TIME = 8
"""Runpod takes 400 status requests at a time and 2000 in 10 s from all of a user's programs."""
NEW_SECONDS = 60.0
"""A job this young may not be known to every part of a platform yet."""
GONE = "The endpoint does not know it any more: Runpod keeps an answer for 30 minutes."
RUNNING = "RUNNING"
"""Runpod's documentation lists it beside IN_PROGRESS."""


def look(
    jobs: Sequence[KnownJob], ask: Callable[[KnownJob], Mapping[str, Any]]
) -> tuple[list[KnownJob], tuple[str, ...]]:
    """Return the jobs as they stand now, and what could not be found out, a sentence each.

    Jobs that have ended are not asked for. `ask` returns an endpoint's answer to status.

    Raises:
        RequestError: an endpoint refuses to answer.
    """
    trouble: dict[str, None] = {}

    def one(job: KnownJob) -> KnownJob:
        if job.has_ended:
            return job
        try:
            return seen(job, ask(job))
        except GoneError:
            return gone(job)
        except MachineError as problem:
            trouble[str(problem)] = None
            return job

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(one, jobs)), tuple(trouble)


def seen(job: KnownJob, answer: Mapping[str, Any]) -> KnownJob:
    """Return a job as an endpoint's answer says it stands."""
    state = str(answer.get("status", job.state))
    output, took = answer.get("output"), answer.get("executionTime")
    error = answer.get("error") or (output.get("error") if isinstance(output, Mapping) else None)
    return replace(
        job,
        state="IN_PROGRESS" if state == RUNNING else state,
        output=dict(output) if isinstance(output, Mapping) else None,
        error=one_line(str(error)) if error else None,
        seconds=took / 1000 if isinstance(took, int | float) else None,
        seen=round(time.time(), 3),
    )


def gone(job: KnownJob) -> KnownJob:
    """Return a job that its endpoint does not know; a new one may yet be found."""
    if time.time() - job.submitted < NEW_SECONDS:
        return job
    return replace(job, state="GONE", error=GONE)
