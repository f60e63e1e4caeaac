"""The folder of one job of the endpoint: the one object that knows its names."""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from musabi.serverless import spare_answer
from musabi.serverless.job_lock import alone, is_held
from musabi.serverless.progress import Progress
from musabi.whole import read_json, write_json
from musabi.workspace import Workspace

END_BYTES = 64_000


def end_of_log(file: Path) -> str:
    """Return the last 64 kB of a log as text; nothing where there is none."""
    try:
        with file.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - END_BYTES))
            return log.read().decode(errors="replace")
    except OSError:
        return ""


def read_object(file: Path) -> dict[str, Any] | None:
    """Return the JSON object of a file; None where there is none, or it is torn."""
    value = read_json(file)
    return value if isinstance(value, dict) else None


class JobFolder:
    """Paths and small files of one job. Nothing in it holds a secret.

    request.json: the id and the input with *** for secrets; progress.json: what a client sees while it waits;
    phases.json: what is done, with its outcome; result.json: the answer, written once; stop.json: why it shall end;
    attempt.json: the process at work on it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.request_file = path / "request.json"
        self.progress_file = path / "progress.json"
        self.phases_file = path / "phases.json"
        self.result_file = path / "result.json"
        self.stop_file = path / "stop.json"
        self.attempt_file = path / "attempt.json"
        self.log_file = path / "log.txt"
        self.job_file = path / "job.toml"
        self.updates = path / "updates"
        self.download = path / "download"
        self.dataset = path / "dataset"
        self.images = self.dataset / "images"
        self.videos = self.dataset / "videos"
        self.dataset_config = self.dataset / "dataset.toml"
        self.sample_prompts = self.dataset / "sample_prompts.txt"
        self.space = Workspace(path / "workspace")
        self.output = self.space.output

    def make(self, job_id: str, request: dict[str, Any]) -> None:
        """Make the folder of a new job, or of one that is tried again: the input with *** for secrets."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.request_file, {"id": job_id, "input": request})
        for left in (self.stop_file, self.progress_file, self.result_file):  # of an earlier try
            left.unlink(missing_ok=True)
        spare_answer.drop(self.path)

    @property
    def job_id(self) -> str:
        """The job's id as the client knows it."""
        return str(self._asked().get("id", self.path.name))

    @property
    def request(self) -> dict[str, Any]:
        """The input as it came, with *** for secrets."""
        value = self._asked().get("input")
        return value if isinstance(value, dict) else {}

    def _asked(self) -> dict[str, Any]:
        return read_object(self.request_file) or {}

    def phases(self) -> dict[str, Any]:
        """Return the outcomes of the phases that are done, by name."""
        return read_object(self.phases_file) or {}

    def note_phases(self, outcomes: dict[str, Any]) -> None:
        """Note which phases are done, with what each came to."""
        write_json(self.phases_file, outcomes)

    def tell(self, progress: Progress) -> None:
        """Replace what a client sees while it waits."""
        write_json(self.progress_file, progress.as_json(), sync=False)

    def progress(self) -> dict[str, Any] | None:
        """Return what a client sees while it waits, or None where nothing was said yet."""
        return read_object(self.progress_file)

    def finish(self, result: dict[str, Any]) -> None:
        """Write the answer. Where the disk has no room for it, what can be brought again makes some.

        Raises:
            OSError: it can be written nowhere.
        """
        try:
            write_json(self.result_file, result)
        except OSError:
            for again in (self.download, self.dataset / "cache"):
                shutil.rmtree(again, ignore_errors=True)
            try:
                write_json(self.result_file, result)
            except OSError:
                spare_answer.keep(self.path, result)

    def result(self) -> dict[str, Any] | None:
        """Return the answer, or None while there is none."""
        found = read_object(self.result_file)
        return found if found is not None else spare_answer.find(self.path)

    def ask_to_stop(self, why: str) -> None:
        """Leave word that the job shall end: cancelled, timed_out or shutdown."""
        write_json(self.stop_file, {"why": why, "asked": time.time()})

    def asked_to_stop(self) -> str | None:
        """Return why the job shall end, or None."""
        found = read_object(self.stop_file)
        return str(found.get("why")) if found is not None else None

    def alone(self, on_lost: Callable[[], None] = lambda: None) -> AbstractContextManager[bool]:
        """Hold the job; gives False where another process holds it (see job_lock)."""
        return alone(self.path, on_lost)

    def is_held(self) -> bool:
        """Tell whether a process holds the job."""
        return is_held(self.path)
