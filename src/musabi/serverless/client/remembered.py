"""The jobs that were submitted from this machine, so that `musabi jobs` finds them again. Holds no secret.

An endpoint forgets: Runpod keeps an answer for 30 minutes. What was last seen of a job is kept here.
"""

import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from musabi.serverless.queue.states import ENDED
from musabi.whole import read_json, write_json

NAME = "endpoint-jobs.json"
MOST = 1000


@dataclass(frozen=True)
class KnownJob:
    """A job as this machine knows it.

    `endpoint` is what --endpoint named, `submitted` and `seen` are Unix seconds, `state` the state it was last
    seen in, `output` and `error` what it said then, `seconds` how long it had been worked on. `file` is what it
    was submitted from; `dataset_in_file` tells whether the dataset's addresses stand in there.
    """

    id: str
    endpoint: str
    name: str
    submitted: float = field(default_factory=lambda: round(time.time(), 3))
    state: str = "IN_QUEUE"
    output: dict[str, Any] | None = None
    error: str | None = None
    seconds: float | None = None
    seen: float | None = None
    file: str | None = None
    dataset_in_file: bool = True

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will be heard of it; GONE is what its endpoint has forgotten."""
        return self.state in ENDED or self.state == "GONE"


class Remembered:
    """The file of known jobs. Several processes may use it at a time."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / NAME

    def jobs(self) -> list[KnownJob]:
        """Return the known jobs, oldest first; entries that can't be read are left out."""
        values = read_json(self.file)
        return [job for value in (values if isinstance(values, list) else []) if (job := known_job(value))]

    def put(self, changed: Sequence[KnownJob]) -> None:
        """Add jobs, or replace what is known of them.

        Raises:
            OSError: the file can't be written.
        """
        new = {(job.endpoint, job.id): job for job in changed}
        self._replace(lambda jobs: [*(new.pop((one.endpoint, one.id), one) for one in jobs), *new.values()])

    def forget(self, gone: Sequence[KnownJob]) -> None:
        """Take jobs out of the file.

        Raises:
            OSError: the file can't be written.
        """
        keys = {(job.endpoint, job.id) for job in gone}
        self._replace(lambda jobs: [job for job in jobs if (job.endpoint, job.id) not in keys])

    def _replace(self, change: Callable[[list[KnownJob]], list[KnownJob]]) -> None:
        with self._alone():
            write_json(self.file, [asdict(job) for job in change(self.jobs())][-MOST:], mode=0o600)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.with_suffix(".lock").open("w") as lock:
            with suppress(OSError):  # a filesystem without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def known_job(value: object) -> KnownJob | None:
    """Return a job from its JSON object, or None where it is none; keys of a later version are left out."""
    if not isinstance(value, dict):
        return None
    names = {one.name for one in fields(KnownJob)}
    with suppress(TypeError):
        return KnownJob(**{name: part for name, part in value.items() if name in names})
    return None
