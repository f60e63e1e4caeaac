"""The file that holds the queue: SQLite, opened so that it works on a network volume too."""

import sqlite3
from pathlib import Path

from musabi.errors import MachineError

VERSION = 1
BUSY_SECONDS = 5.0
SCHEMA = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    input TEXT NOT NULL,                     -- JSON, *** for secrets
    held TEXT NOT NULL,                      -- JSON list
    low INTEGER NOT NULL,                    -- 1: behind all others
    place INTEGER NOT NULL,                  -- order in the queue
    created REAL NOT NULL,
    first_started REAL,
    started REAL,
    worked REAL NOT NULL DEFAULT 0,
    ended REAL,
    execution_s REAL,                        -- policy.executionTimeout
    expires REAL,                            -- created + policy.ttl
    gone INTEGER NOT NULL DEFAULT 0,         -- 1: its ttl is over, nobody is told of it any more
    retries INTEGER NOT NULL DEFAULT 0,
    restarts INTEGER NOT NULL DEFAULT 0,     -- how often the work broke down since the job was sent
    slot INTEGER,
    output_json TEXT,
    hook TEXT,                               -- webhook; NULL where it lies with the secrets, or there is none
    hook_tries INTEGER NOT NULL DEFAULT 0,   -- calls that are left
    hook_due REAL,                           -- when it is to be called; NULL: not now
    removed INTEGER NOT NULL DEFAULT 0       -- 1: its folder is gone
);
CREATE INDEX waiting ON jobs (state, low, place);
CREATE INDEX by_slot ON jobs (slot) WHERE slot IS NOT NULL;
CREATE INDEX by_expiry ON jobs (expires) WHERE gone = 0 AND expires IS NOT NULL;
CREATE INDEX by_hook ON jobs (hook_due) WHERE hook_due IS NOT NULL;
CREATE INDEX by_end ON jobs (ended);
"""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the queue, and make it where there is none.

    The connection commits by itself and may be used by several threads, one at a time. It holds the file for
    this process alone: SQLite then needs no shared memory for its write-ahead log, which a network filesystem
    does not have (https://sqlite.org/wal.html, "Use of WAL Without Shared-Memory").

    Raises:
        MachineError: another process has it, or it can't be read or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise MachineError(
            f"Can't make the folder {path.parent}: {problem.strerror}. Name one that can be written, with --root "
            "or ENDPOINT_ROOT."
        ) from None
    try:
        database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as problem:
        raise MachineError(in_words(path, problem)) from None
    database.row_factory = sqlite3.Row
    try:
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("BEGIN EXCLUSIVE")
        found = int(database.execute("PRAGMA user_version").fetchone()[0])
        if found == 0:
            for statement in SCHEMA.split(";\n"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version={VERSION}")
        database.execute("COMMIT")
    except sqlite3.Error as problem:
        database.close()
        raise MachineError(in_words(path, problem)) from None
    if found > VERSION:
        database.close()
        raise MachineError(
            f"{path} was written by a newer version of this program. Use that one, or move the file away."
        )
    return database


def in_words(path: Path, problem: sqlite3.Error) -> str:
    """Return what is wrong with the file, and what to do."""
    if "locked" in str(problem):
        return (
            f"Another musabi serve works with {path.parent}. End it first, or give this one another --root."
        )
    return (
        f"The queue {path} can't be used ({problem}). Check that its folder can be written and has room, "
        "or move the file away and start again."
    )
