"""Jobs of endpoints as lines of text that fit into a terminal of any width: one a job, two on small ones. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from musabi.serverless.client.remembered import KnownJob
from musabi.watch.card import one_line

SHORT_ID = 8
NARROW = 72
LEAST = 20
LEAST_SAID = 16
"""Letters of progress; where a line leaves less, progress has a line of its own."""
INDENT = "  "
WORDS = {
    "IN_QUEUE": "waiting",
    "IN_PROGRESS": "running",
    "COMPLETED": "done",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "TIMED_OUT": "timed out",
    "GONE": "gone",
}


def lines(jobs: Sequence[KnownJob], width: int) -> list[str]:
    """Return the table: a heading and a text a job, of two lines where one is too short for how far it is.

    No line is longer than `width` (20 at least).
    """
    name_width = max([4, *(len(job.name) for job in jobs)])
    name_width = min(name_width, 14 if width < NARROW else 32)
    id_width = shortest_ids([job.id for job in jobs])
    rows = [cells(job, id_width, name_width) for job in jobs]
    table = [("ID", "NAME", "STATE", "TIME", ""), *rows]
    if width < NARROW:
        table = [(short, name, state, "", what) for short, name, state, _, what in table]
    widths = [max(len(row[column]) for row in table) for column in range(4)]
    left = width - sum(w + len(INDENT) for w in widths if w)
    return [row_text(row, widths, max(LEAST, width), apart=left < LEAST_SAID) for row in table]


def row_text(row: tuple[str, ...], widths: Sequence[int], width: int, *, apart: bool) -> str:
    """Return a row's text; `apart` puts its last cell, where it says something, into a second line."""
    *columns, said = row
    line = INDENT.join(cell.ljust(w) for cell, w in zip(columns, widths, strict=True) if w)
    if apart:
        return cut(line.rstrip(), width) + (f"\n{cut(INDENT + said, width)}" if said else "")
    return cut(f"{line}{INDENT}{said}".rstrip(), width)


def shortest_ids(ids: Sequence[str]) -> int:
    """Return how many first letters tell these ids apart, SHORT_ID at least."""
    longest = max(map(len, ids), default=SHORT_ID)
    lengths = range(SHORT_ID, max(longest, SHORT_ID) + 1)
    return next((n for n in lengths if len({one[:n] for one in ids}) == len(set(ids))), SHORT_ID)


def cells(job: KnownJob, id_width: int, name_width: int) -> tuple[str, str, str, str, str]:
    """Return a job's cells: short id, name, state, time worked on, and what there is to say."""
    state = WORDS.get(job.state, job.state.lower())
    return job.id[:id_width], cut(job.name, name_width), state, clock(job.seconds), what(job)


def what(job: KnownJob) -> str:
    """Return how far a job is, where its result lies, or why it failed, on one line."""
    if job.error:
        return one_line(job.error)
    if job.state == "IN_PROGRESS":
        return progress(job.output or {})
    return link(job.output or {}) or ""


def progress(said: Mapping[str, Any]) -> str:
    """Return a job's progress in words: message, step, loss, time left."""
    parts = [one_line(str(said.get("message", "")))]
    if isinstance(said.get("step"), int) and isinstance(said.get("steps"), int):
        parts.append(f"step {said['step']}/{said['steps']}")
    elif isinstance(said.get("progress"), int | float):
        parts.append(f"{said['progress']:.0f} %")
    if isinstance(said.get("loss"), int | float):
        parts.append(f"loss {said['loss']:.4f}")
    if isinstance(said.get("eta_s"), int | float):
        parts.append(f"{clock(said['eta_s'])} left")
    return "  ".join(part for part in parts if part)


def link(answer: Mapping[str, Any]) -> str | None:
    """Return where the LoRA of a job that is done can be had."""
    output = answer.get("output")
    if not isinstance(output, Mapping):
        return None
    for name in ("safetensors_url", "download_url", "repo_url", "network_volume_path"):
        if isinstance(output.get(name), str):
            return str(output[name])
    return None


def in_full(job: KnownJob) -> str | None:
    """Return the error or the link of a job as it is, for where a line of the table was cut."""
    if job.error:
        return job.error
    return link(job.output or {}) if job.state == "COMPLETED" else None


def summary(jobs: Sequence[KnownJob]) -> str:
    """Return how many jobs are in each state: "3 done, 1 failed"."""
    counts = {state: sum(job.state == state for job in jobs) for state in WORDS}
    return ", ".join(f"{count} {WORDS[state]}" for state, count in counts.items() if count) or "no jobs"


def clock(seconds: float | None) -> str:
    """Return a time as people say it: 42 s, 12:05, 3:20:00."""
    if seconds is None:
        return ""
    whole = int(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes == 0:
        return f"{whole} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def cut(text: str, width: int) -> str:
    """Return a text of at most `width` letters; where some are missing it ends with an ellipsis."""
    return text if len(text) <= width else text[: width - 1] + "…"
