"""The jobs of `musabi serve`: a row each in one SQLite file. No secret is ever in it."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from musabi.serverless.queue.database import open_database
from musabi.serverless.queue.rows import COLUMNS, Job, Listed, NewJob, read_row
from musabi.serverless.queue.states import CAN_BE_RETRIED, ENDED, State

HOOK_TRIES = 3
KEEP_ROWS_SECONDS = 7 * 86400.0
MOST_ENDED = 10_000
"""Ended jobs that are remembered at most: clients can send more in seven days than a disk holds."""
MOST_REFUSED = 100_000
MOST_LISTED_INPUT = 100_000
"""Letters of an input that is read for a list of jobs."""
MOST_NUMBER = 2**62
PIECES = {
    "columns": COLUMNS,
    "short_input": "CASE WHEN length(input) <= :longest THEN input END AS input",
    "newest_first": "ORDER BY rowid DESC LIMIT :most",
    "open": "state IN ('IN_QUEUE', 'IN_PROGRESS')",
    "over": "state IN ('" + "', '".join(sorted(ENDED)) + "')",
    "retriable": "state IN ('" + "', '".join(sorted(CAN_BE_RETRIED)) + "')",
    "call_hook": "hook_due = CASE WHEN hook_tries > 0 THEN :now END",
}
"""What several statements share, by the name after the dollar sign."""


class Full(Exception):  # noqa: N818 - an answer, not an error
    """As many jobs wait as may wait."""


class Store:
    """All jobs. Safe to use from several threads; each change is one statement, so it happens or it does not.

    Every method raises sqlite3.Error where the file can't be written, for instance on a full disk.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self.now = now
        self._database = open_database(path)
        self._lock = threading.RLock()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()

    def add(self, new: NewJob, most_waiting: int) -> None:
        """Put a job at the end of the queue.

        Raises:
            Full: `most_waiting` jobs wait already.
        """
        with self._lock:
            self._require_room(most_waiting)
            self._insert(new, State.IN_QUEUE)

    def add_refused(self, new: NewJob, output: Any) -> None:  # noqa: ANN401 - any JSON value
        """Remember a job that failed before it could wait, since its request is wrong.

        A very large input is not kept: any number of such requests may come.
        """
        if len(json.dumps(new.input)) > MOST_REFUSED:
            new = replace(new, input=None)
        self._insert(new, State.FAILED, output)

    def get(self, job_id: str) -> Job | None:
        """Return a job, or None where there is none (any more)."""
        found = self._jobs("SELECT $columns FROM jobs WHERE id = :id AND gone = 0", id=job_id)
        return found[0] if found else None

    def input_of(self, job_id: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return the input of a job that there is, with *** for secrets."""
        return json.loads(self._run("SELECT input FROM jobs WHERE id = :id", id=job_id)[0]["input"])

    def newest(self, most: int, before: int | None = None, state: State | None = None) -> list[Listed]:
        """Return jobs, those sent last first: at most `most`, with numbers below `before`, only those in `state`."""
        # The + keeps SQLite on the index of states: few jobs are open. Of the others there are many in a row.
        rows = self._run(
            "SELECT rowid AS number, $short_input, $columns FROM jobs WHERE gone = 0"
            " AND state = :state AND +rowid < :before $newest_first"
            if state in (State.IN_QUEUE, State.IN_PROGRESS)
            else "SELECT rowid AS number, $short_input, $columns FROM jobs WHERE gone = 0"
            " AND rowid < :before AND (:state IS NULL OR state = :state) $newest_first",
            most=most,
            before=before or MOST_NUMBER,
            state=state,
            longest=MOST_LISTED_INPUT,
        )
        return [Listed(row["number"], read_row(row), json.loads(row["input"] or "null")) for row in rows]

    def next_for(self, slot: int, without: Collection[str] = ()) -> Job | None:
        """Give the next job to a slot and return it: one that was interrupted, else the first of the queue.

        `without` are ids of jobs that must wait a little longer.
        """
        found = self._jobs(
            "UPDATE jobs SET state = 'IN_PROGRESS', slot = :slot, started = :now, ended = NULL,"
            " first_started = COALESCE(first_started, :now) WHERE id = ("
            " SELECT id FROM jobs WHERE gone = 0 AND slot IS NULL AND $open"
            " AND id NOT IN (SELECT value FROM json_each(:without))"
            " ORDER BY state = 'IN_QUEUE', low, place LIMIT 1) RETURNING $columns",
            slot=slot,
            without=json.dumps(list(without)),
        )
        return found[0] if found else None

    def in_slots(self) -> list[Job]:
        """Return the jobs that slots are busy with, or were when the server ended."""
        return self._jobs("SELECT $columns FROM jobs WHERE slot IS NOT NULL ORDER BY slot")

    def call_off(self, job_id: str, state: State) -> Job | None:
        """Say that a job is CANCELLED or TIMED_OUT unless it has ended; return it as it is then.

        Where a slot is busy with it, `finish` follows once its processes have saved what they have.
        """
        self._run(
            "UPDATE jobs SET state = :state, ended = CASE WHEN slot IS NULL THEN :now END,"
            " hook_due = CASE WHEN slot IS NULL AND hook_tries > 0 THEN :now END"
            " WHERE id = :id AND gone = 0 AND $open",
            id=job_id,
            state=state,
        )
        return self.get(job_id)

    def interrupt(self, job_id: str, *, until: float, counts: bool) -> None:
        """Note that the work on a job ended at `until` without an answer; `counts` where it broke down."""
        self._run(
            "UPDATE jobs SET slot = NULL, worked = worked + MAX(0, :until - COALESCE(started, :until)),"
            " started = NULL, restarts = restarts + :counts WHERE id = :id",
            id=job_id,
            until=until,
            counts=int(counts),
        )

    def finish(self, job_id: str, state: State, output: Any) -> None:  # noqa: ANN401 - any JSON value
        """Note the answer of a job and let go of its slot.

        One that was called off keeps its state; one that was sent to the queue again goes on waiting there.
        """
        with self._lock:
            again = self._run(
                "UPDATE jobs SET slot = NULL WHERE id = :id AND state = 'IN_QUEUE' RETURNING 1", id=job_id
            )
            if again:
                return
            self._run(
                "UPDATE jobs SET slot = NULL, state = CASE WHEN state = 'IN_PROGRESS' THEN :state ELSE state END,"
                " output_json = :output, ended = :now, removed = 0, $call_hook WHERE id = :id",
                id=job_id,
                state=state,
                output=json.dumps(output),
            )

    def retry(self, job_id: str, held: Iterable[str], most_waiting: int) -> bool:
        """Put an ended job at the end of the queue again; return whether it is there now.

        Raises:
            Full: `most_waiting` jobs wait already.
        """
        with self._lock:
            self._require_room(most_waiting)
            return bool(
                self._run(
                    "UPDATE jobs SET state = 'IN_QUEUE', place = (SELECT MAX(place) + 1 FROM jobs), created = :now,"
                    " expires = :now + expires - created, first_started = NULL, started = NULL, worked = 0,"
                    " ended = NULL, output_json = NULL, held = :held, retries = retries + 1, restarts = 0,"
                    " hook_due = NULL WHERE id = :id AND gone = 0 AND $retriable RETURNING 1",
                    id=job_id,
                    held=json.dumps(list(held)),
                )
            )

    def purge(self) -> int:
        """Cancel every job that waits; return how many."""
        return len(
            self._run(
                "UPDATE jobs SET state = 'CANCELLED', ended = :now, $call_hook"
                " WHERE gone = 0 AND state = 'IN_QUEUE' RETURNING 1"
            )
        )

    def expire(self) -> list[str]:
        """Tell nobody any more of the jobs whose ttl is over, and call them off; return their ids."""
        rows = self._run(
            "UPDATE jobs SET gone = 1, hook_due = NULL, ended = COALESCE(ended, :now),"
            " state = CASE WHEN $over THEN state ELSE 'TIMED_OUT' END"
            " WHERE gone = 0 AND expires IS NOT NULL AND expires < :now RETURNING id"
        )
        return [row["id"] for row in rows]

    def counts(self) -> dict[State, int]:
        """Return how many jobs there are in each state."""
        rows = self._run("SELECT state, COUNT(*) AS n FROM jobs WHERE gone = 0 GROUP BY state")
        found = {State(row["state"]): int(row["n"]) for row in rows}
        return {state: found.get(state, 0) for state in State}

    def retried(self) -> int:
        """Return how often jobs were sent to the queue again."""
        return int(self._run("SELECT COALESCE(SUM(retries), 0) AS n FROM jobs WHERE gone = 0")[0]["n"])

    def due_hooks(self, most: int) -> list[Job]:
        """Return jobs whose webhook is to be called now."""
        return self._jobs(
            "SELECT $columns FROM jobs WHERE gone = 0 AND hook_due <= :now ORDER BY hook_due LIMIT :most",
            most=most,
        )

    def note_hook(self, job_id: str, retries: int, again_in_s: float | None) -> None:
        """Note that a webhook was called, for the job's `retries`th retry; None: it is not to be called again."""
        self._run(
            "UPDATE jobs SET hook_tries = hook_tries - 1,"
            " hook_due = CASE WHEN hook_tries > 1 THEN :now + :again END WHERE id = :id AND retries = :retries",
            id=job_id,
            retries=retries,
            again=again_in_s,
        )

    def take_for_removal(self, older_than_s: float) -> list[str]:
        """Return the jobs that ended that long ago and have a folder; they are noted to have none."""
        rows = self._run(
            "UPDATE jobs SET removed = 1 WHERE removed = 0 AND slot IS NULL AND $over AND ended < :now - :older"
            " RETURNING id",
            older=older_than_s,
        )
        return [row["id"] for row in rows]

    def forget(self) -> list[str]:
        """Delete the rows of jobs that ended too long ago and have no folder any more; return their ids."""
        rows = self._run(
            "DELETE FROM jobs WHERE removed = 1 AND slot IS NULL AND $over AND (ended < :now - :age OR id IN"
            " (SELECT id FROM jobs WHERE ended IS NOT NULL ORDER BY ended DESC LIMIT -1 OFFSET :most)) RETURNING id",
            age=KEEP_ROWS_SECONDS,
            most=MOST_ENDED,
        )
        return [row["id"] for row in rows]

    def _insert(self, new: NewJob, state: State, output: Any = None) -> None:  # noqa: ANN401 - any JSON value
        moment = self.now()
        values = {
            "id": new.id,
            "state": state,
            "input": json.dumps(new.input),
            "held": json.dumps(list(new.held)),
            "low": int(new.low),
            "execution_s": new.execution_s,
            "expires": None if new.ttl_s is None else moment + new.ttl_s,
            "hook": new.hook,
            "hook_tries": HOOK_TRIES if new.has_hook else 0,
            "hook_due": moment if new.has_hook and state in ENDED else None,
            "output_json": None if output is None else json.dumps(output),
            "ended": moment if state in ENDED else None,
            "removed": int(state in ENDED),
        }
        self._run(
            "INSERT INTO jobs (id, state, input, held, low, created, execution_s, expires, hook, hook_tries,"
            " hook_due, output_json, ended, removed, place) VALUES (:id, :state, :input, :held, :low, :now,"
            " :execution_s, :expires, :hook, :hook_tries, :hook_due, :output_json, :ended, :removed,"
            " (SELECT COALESCE(MAX(place), 0) + 1 FROM jobs))",
            **values,
        )

    def _require_room(self, most: int) -> None:
        if self._run("SELECT COUNT(*) AS n FROM jobs WHERE state = 'IN_QUEUE'")[0]["n"] >= most:
            raise Full

    def _jobs(self, statement: str, **values: Any) -> list[Job]:  # noqa: ANN401 - SQL values
        return [read_row(row) for row in self._run(statement, **values)]

    def _run(self, statement: str, **values: Any) -> list[sqlite3.Row]:  # noqa: ANN401 - SQL values
        with self._lock:
            return self._database.execute(filled_in(statement), {"now": self.now()} | values).fetchall()


@cache
def filled_in(statement: str) -> str:
    """Return a statement with its pieces in place."""
    return Template(statement).substitute(PIECES)
