"""The run in words: what was asked for, what came of it, and the numbers as people write them."""

import time
from collections.abc import Mapping
from typing import Any

from musabi.job.record import RunRecord, RunState

MODELS = {"z-image": "Z-Image"}
OPTIMIZERS = {"prodigy": "Prodigy", "adamw8bit": "AdamW8bit", "adamw": "AdamW"}
ENGINES = {"musubi": "musubi-tuner", "diffusers": "diffusers (embedded)"}
BADGES = {
    RunState.PLANNED: "not started",
    RunState.RUNNING: "running",
    RunState.DONE: "done",
    RunState.FAILED: "failed",
    RunState.STOPPED: "stopped",
    RunState.INTERRUPTED: "interrupted",
}


def count(number: int, noun: str) -> str:
    """Return "1 image", "54 images", "2,500 steps"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    """Return a length of time as "47 s", "3 min 05 s" or "2 h 07 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def file_size(size: int) -> str:
    """Return a size in bytes as "512 bytes", "7.3 kB", "85 MB" or "2.4 GB" (powers of ten)."""
    if size < 1000:
        return count(size, "byte")
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.5 or unit == "GB":
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:,.0f} {unit}"
    raise AssertionError("unreachable")


def moment(seconds: float) -> str:
    """Return a Unix time as "2026-01-31 14:05 UTC"."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def plan_schedule(record: RunRecord) -> dict[str, int]:
    """Return the schedule of the record's plan: `steps`, `epochs`, `steps_per_epoch`; 0 where unknown."""
    schedule = record.plan.get("schedule") or {}
    return {name: int(schedule.get(name) or 0) for name in ("steps", "epochs", "steps_per_epoch")}


def seconds_taken(record: RunRecord, now: float) -> float:
    """Return how long the run took so far in seconds.

    A run that was interrupted has no end of its own; there the last end of a step counts, where there is one.
    """
    if record.ended is not None:
        return record.ended - record.created
    if record.state is RunState.RUNNING:
        return now - record.created
    ends = [step.ended for step in record.steps if step.ended is not None]
    return max(ends, default=record.created) - record.created


def headline(record: RunRecord, step: int, seconds: float) -> str:
    """Return the result in one sentence.

    `step` is the last optimizer step that is known of, `seconds` the time that the run took.
    """
    steps = plan_schedule(record)["steps"]
    taken = duration(seconds)
    reached = f"step {step:,} of {steps:,}" if steps else f"step {step:,}"
    if record.state is RunState.DONE:
        return (
            f"Trained: {count(steps, 'step')} in {taken}."
            if steps
            else f"Done in {taken}; nothing was trained."
        )
    if record.state is RunState.RUNNING:
        return (
            f"Still running: {reached} after {taken}."
            if step
            else f"Running for {taken}; no step is done yet."
        )
    if record.state is RunState.PLANNED:
        return "Planned; nothing has run yet."
    if record.state is RunState.INTERRUPTED:
        what = "Interrupted: the machine or its process went away without a word"
    else:
        what = {RunState.FAILED: "Failed", RunState.STOPPED: "Stopped on request"}[record.state]
    return f"{what}, at {reached}." if step else f"{what}, before the first step."


def next_action(record: RunRecord, has_state: bool) -> str | None:
    """Return what a person can do about a run that is not whole, or None."""
    if record.state not in (RunState.FAILED, RunState.STOPPED, RunState.INTERRUPTED):
        return None
    if has_state:
        return "musabi train --resume goes on from the newest saved state."
    return "No state was saved, so a new run starts from the beginning."


def failed_step(record: RunRecord) -> str | None:
    """Return the title of the step that failed, or None."""
    return next((step.title for step in record.steps if step.state == "failed"), None)


def weights_remark(versions: Mapping[str, str]) -> str | None:
    """Return a warning where a version entry about weights says that they are tiny or random."""
    for name, value in versions.items():
        if "weights" in name.lower() and any(word in value.lower() for word in ("random", "tiny")):
            return (
                f"The base weights of this run were not a real model ({value}). The pictures show that every "
                "part works, not what a LoRA can look like."
            )
    return None


def job_facts(record: RunRecord, taken: float, resolution: str, images: int | None) -> list[tuple[str, str]]:
    """Return the job as (name, value) pairs for a person."""
    job = record.job
    schedule = plan_schedule(record)
    optimizer = str(job.get("optimizer", ""))
    rate = "found by Prodigy" if optimizer == "prodigy" else f"{float(job.get('learning_rate') or 0):g}"
    length = (
        f"{count(schedule['epochs'], 'epoch')} \u00d7 {count(schedule['steps_per_epoch'], 'step')}"
        f" = {schedule['steps']:,}"
        if schedule["steps"]
        else "unknown"
    )
    rows: list[tuple[str, Any]] = [
        ("Model", MODELS.get(str(job.get("model")), job.get("model"))),
        ("Engine", ENGINES.get(str(job.get("engine")), job.get("engine"))),
        ("Optimizer", OPTIMIZERS.get(optimizer, optimizer)),
        ("Learning rate", rate if optimizer else None),
        ("Rank / alpha", f"{job.get('network_dim', '?')} / {_plain(job.get('network_alpha', '?'))}"),
        ("Resolution", resolution),
        ("Images", f"{images:,}" if images is not None else None),
        ("Length", length),
        ("Seed", job.get("seed")),
        ("Time taken", duration(taken) if taken else None),
    ]
    return [(name, str(value)) for name, value in rows if value not in (None, "")]


def _plain(value: Any) -> str:  # noqa: ANN401 - a JSON value
    return f"{value:g}" if isinstance(value, float) else str(value)
