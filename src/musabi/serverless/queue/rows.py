"""A job of `musabi serve` as a value: what is noted of it, and what a new one is made of."""

import json
import sqlite3
from dataclasses import dataclass, fields
from typing import Any

from musabi.serverless.queue.states import State


@dataclass(frozen=True)
class Job:
    """A row of the queue without its input. Times are Unix seconds, None where it has not come to that.

    `held` are the paths in the input where secrets were. `started` is when the work that goes on was started,
    `worked` the seconds of work before it, `first_started` when any was. `slot` is the GPU that is busy with it;
    it may be so for a while after the job was cancelled. `output` is the answer as JSON text.
    """

    id: str
    state: State
    held: tuple[str, ...]
    created: float
    first_started: float | None
    started: float | None
    worked: float
    ended: float | None
    execution_s: float | None
    retries: int
    restarts: int
    slot: int | None
    output_json: str | None
    hook: str | None
    hook_tries: int

    @property
    def output(self) -> Any:  # noqa: ANN401 - any JSON value
        """The answer, None while there is none."""
        return None if self.output_json is None else json.loads(self.output_json)

    def seconds(self, now: float) -> float:
        """Return how long was worked on it."""
        going = 0.0 if self.started is None else max(0.0, (self.ended or now) - self.started)
        return self.worked + going

    def took_too_long(self, now: float) -> bool:
        """Tell whether its policy's executionTimeout is over."""
        return self.execution_s is not None and self.seconds(now) > self.execution_s


@dataclass(frozen=True)
class Listed:
    """A job in a list. `number` grows with each new job; `input` has *** for secrets, None where it is very large."""

    number: int
    job: Job
    input: Any


@dataclass(frozen=True)
class NewJob:
    """What a row is made of. `hook` is the webhook, None also where it holds a secret; `has_hook`: there is one."""

    id: str
    input: Any
    held: tuple[str, ...] = ()
    low: bool = False
    execution_s: float | None = None
    ttl_s: float | None = None
    hook: str | None = None
    has_hook: bool = False


COLUMNS = ", ".join(field.name for field in fields(Job))


def read_row(row: sqlite3.Row) -> Job:
    """Return the job of a row that holds COLUMNS."""
    values = {field.name: row[field.name] for field in fields(Job)}
    return Job(**values | {"state": State(values["state"]), "held": tuple(json.loads(values["held"]))})
