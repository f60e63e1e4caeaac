"""The jobs of an endpoint as the page shows them: JSON in, rows out. Pure; every text in it is a stranger's."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from musabi.watch.story import duration, moment

WORDS: dict[str, tuple[str, str]] = {
    "IN_QUEUE": ("waiting", "soft"),
    "IN_PROGRESS": ("running", "busy"),
    "COMPLETED": ("done", "good"),
    "FAILED": ("failed", "bad"),
    "CANCELLED": ("cancelled", "warn"),
    "TIMED_OUT": ("timed out", "bad"),
}
"""What a state is called, and how it is coloured."""
OPEN = frozenset({"IN_QUEUE", "IN_PROGRESS"})
CAN_BE_RETRIED = frozenset({"FAILED", "CANCELLED", "TIMED_OUT"})
METHODS = {
    "auto": "where there is room for it",
    "huggingface": "Hugging Face",
    "s3": "S3",
    "litterbox": "litterbox",
    "transfer_sh": "transfer.sh",
    "volume": "the endpoint's volume",
}
RESULTS = (
    ("safetensors_url", "LoRA file"),
    ("download_url", "Download"),
    ("repo_url", "Repository"),
    ("network_volume_path", "On this machine"),
)
COUNTS = (("inProgress", "running"), ("inQueue", "waiting"), ("completed", "done"), ("failed", "failed"))
SHORT_ID = 8
SYNC = "sync-"
"""Ids of jobs that somebody waits for begin so."""
LONGEST = 300
LONGEST_ERROR = 2000


@dataclass(frozen=True)
class Result:
    """Where something lies: `href` is None where it is no https address."""

    label: str
    text: str
    href: str | None


@dataclass(frozen=True)
class Row:
    """A job. `percent` is None while how far it is can't be said; `facts` are (name, value) pairs."""

    id: str
    short: str
    word: str
    colour: str
    model: str
    target: str
    when: str
    message: str
    percent: float | None
    figures: str
    error: str
    results: tuple[Result, ...]
    facts: tuple[tuple[str, str], ...]
    can_cancel: bool
    can_retry: bool


def rows(values: Sequence[Any]) -> list[Row]:
    """Return the rows of a list of jobs; what is no job is left out."""
    return [row(value) for value in values if isinstance(value, dict) and text(value.get("id"))]


def row(job: Mapping[str, Any]) -> Row:
    """Return one job's row."""
    state, job_id = text(job.get("status")), text(job.get("id"))
    word, colour = WORDS.get(state, (state.lower() or "not known", "soft"))
    said = progress if isinstance(progress := job.get("progress"), dict) else {}
    going = state == "IN_PROGRESS"
    result = found if isinstance(found := job.get("result"), dict) else {}
    return Row(
        id=job_id,
        short=short_id(job_id),
        word=word,
        colour=colour,
        model=text(job.get("model")) or "model not known",
        target=target(job),
        when=when(job, state),
        message=(text(said.get("message")) or "Starting.") if going else "",
        percent=percent(said) if going else None,
        figures=figures(said) if going else "",
        error=text(job.get("error"), LONGEST_ERROR),
        results=results(result),
        facts=facts(job),
        can_cancel=state in OPEN,
        can_retry=state in CAN_BE_RETRIED,
    )


def short_id(job_id: str) -> str:
    """Return as much of an id as tells jobs apart; `musabi jobs` takes it, too."""
    mark = SYNC if job_id.startswith(SYNC) else ""
    return mark + job_id.removeprefix(SYNC)[:SHORT_ID]


def target(job: Mapping[str, Any]) -> str:
    """Return where the LoRA goes, in words."""
    method, name = text(job.get("method")), text(job.get("destination"))
    return ", ".join(part for part in (METHODS.get(method, method), name) if part)


def when(job: Mapping[str, Any], state: str) -> str:
    """Return when it was sent, or when and after how much work it ended."""
    created, ended, seconds = (number(job.get(name)) for name in ("created", "ended", "seconds"))
    worked = f" after {duration(seconds)}" if seconds else ""
    if state not in OPEN and ended is not None:
        return f"ended {moment_of(ended)}{worked}"
    if state == "IN_PROGRESS" and seconds is not None:
        return f"running for {duration(seconds)}"
    return f"sent {moment_of(created)}" if created is not None else ""


def percent(said: Mapping[str, Any]) -> float | None:
    """Return how far the phase is: by steps where there are any."""
    step, steps, share = (number(said.get(name)) for name in ("step", "steps", "progress"))
    if step is not None and steps:
        share = 100 * step / steps
    return None if share is None else round(min(100.0, max(0.0, share)), 1)


def figures(said: Mapping[str, Any]) -> str:
    """Return a phase's figures in one line: step, epoch, loss, time left."""
    parts = [
        f"{name} {int(now):,} of {int(all_of):,}"
        for name in ("step", "epoch")
        if (now := number(said.get(name))) is not None
        and (all_of := number(said.get(f"{name}s"))) is not None
    ]
    share = number(said.get("progress"))
    if not parts and share is not None:
        parts.append(f"{share:.0f} %")
    loss, left = number(said.get("loss")), number(said.get("eta_s"))
    parts += [] if loss is None else [f"loss {loss:.4f}"]
    parts += [] if left is None else [f"{duration(left)} left"]
    return ", ".join(parts)


def results(found: Mapping[str, Any]) -> tuple[Result, ...]:
    """Return where the files are, each address once."""
    shown: dict[str, Result] = {}
    for name, label in RESULTS:
        value = text(found.get(name), LONGEST_ERROR)
        if value and value not in shown:
            href = value if is_https(value) else None
            shown[value] = Result(label, value.partition("?")[0] if href else value, href)
    return tuple(shown.values())


def is_https(address: str) -> bool:
    """Tell whether a text is an https address that a link may lead to."""
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return False
    plain = address.isprintable() and " " not in address
    return plain and parts.scheme == "https" and bool(host) and not (parts.username or parts.password)


def facts(job: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what else is known of a job."""
    found = [("Id", text(job.get("id")))]
    for name, label in (("created", "Sent"), ("started", "Started"), ("ended", "Ended")):
        if (at := number(job.get(name))) is not None:
            found.append((label, moment_of(at)))
    if retries := number(job.get("retries")):
        found.append(("Retried", "once" if retries == 1 else f"{int(retries)} times"))
    return tuple(found)


def counts(health: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return (word, number) pairs of how many jobs and workers there are."""
    jobs = found if isinstance(found := health.get("jobs"), dict) else {}
    workers = found if isinstance(found := health.get("workers"), dict) else {}
    pairs = [(word, number(jobs.get(name))) for name, word in COUNTS]
    pairs.append(("free to start another", number(workers.get("idle"))))
    return [(word, int(value)) for word, value in pairs if value is not None]


def moment_of(seconds: float) -> str:
    """Return a Unix time in words; one that no clock shows is not known."""
    try:
        return moment(seconds)
    except (OverflowError, ValueError, OSError):
        return "at a time not known"


def number(value: object) -> float | None:
    """Return a number that can be counted with."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def text(value: object, longest: int = LONGEST) -> str:
    """Return a text, cut where it is too long; "" where it is none."""
    return value.strip()[:longest] if isinstance(value, str) else ""
