"""The queue of jobs: what waits, runs and ended, and the verbs that change it."""

from typing import Any

from musabi.errors import RequestError
from musabi.job.queue import JobState, Queue, QueuedJob, folder_of, is_carried_out
from musabi.watch.page.html import render
from musabi.watch.page.scene import Scene
from musabi.watch.page.train_form import values_of
from musabi.watch.page.train_jobs import typed, write_job
from musabi.watch.page.view import Given, Query, Verb

MEMORY = "train: queue"
ENDED = (JobState.DONE, JobState.FAILED, JobState.STOPPED)


def queue_part(scene: Scene, _query: Query) -> str:
    """Return the list of jobs."""
    jobs = _jobs(scene)
    values: dict[str, Any] = {
        "jobs": jobs,
        "carried_out": bool(jobs) and is_carried_out(scene.space),
        "waits": any(job.state in (JobState.WAITING, JobState.RUNNING) for job in jobs),
        "ended": any(job.state in ENDED for job in jobs),
    }
    return render("train_queue", values)


def _jobs(scene: Scene) -> list[QueuedJob]:
    """Return the jobs; their files are read again only where one of them changed."""
    folder = folder_of(scene.space)
    try:
        stamp = tuple(sorted((path.name, path.stat().st_mtime_ns) for path in folder.glob("[0-9]*.json")))
    except OSError:
        return []
    known: tuple[object, list[QueuedJob]] = scene.memory.get(MEMORY, ((), []))
    if known[0] != stamp:
        known = scene.memory[MEMORY] = (stamp, Queue(folder).jobs())
    return known[1]


def add_words(scene: Scene, given: Given) -> list[str]:
    """Write the form's job and return the arguments that put it into the queue."""
    values = typed(values_of(given.get("values"), scene.space.root), scene.environ)
    return ["queue", "add", str(write_job(scene.space, values))]


def remove_words(_scene: Scene, given: Given) -> list[str]:
    """Return the arguments that take a job out of the queue."""
    number = str(given.get("number", ""))
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise RequestError("There is no such job in the queue. Load the page again.")
    return ["queue", "remove", number]


def clear_words(_scene: Scene, _given: Given) -> list[str]:
    """Return the arguments that take all jobs out that ended."""
    return ["queue", "remove", "--ended"]


def run_words(_scene: Scene, _given: Given) -> list[str]:
    """Return the arguments that carry the queue out."""
    return ["queue", "run", "--detach"]


VERBS = {
    "queue-add": Verb("Add a job to the queue", add_words, done="It is in the queue."),
    "queue-remove": Verb(
        "Take a job out of the queue", remove_words, done="Removed. Its runs and LoRAs stay."
    ),
    "queue-clear": Verb(
        "Take ended jobs out of the queue", clear_words, done="Removed. Their runs and LoRAs stay."
    ),
    "queue-run": Verb("Carry the queue out", run_words, done="The queue is being carried out."),
}
