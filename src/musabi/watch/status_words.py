"""The status page's numbers and states as people write them."""

import time
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from musabi.watch.story import duration, file_size

# What a state is called, and how it is coloured: good, bad, warn, busy or soft.
STATES: dict[str, tuple[str, str]] = {
    "ok": ("ok", "good"),
    "note": ("look at this", "warn"),
    "unknown": ("not known", "soft"),
    "blocks": ("in the way", "bad"),
    "waiting": ("waiting", "soft"),
    "planned": ("starting", "busy"),
    "starting": ("starting", "busy"),
    "running": ("running", "busy"),
    "done": ("done", "good"),
    "skipped": ("there already", "good"),
    "failed": ("failed", "bad"),
    "blocked": ("not started", "soft"),
    "stopped": ("stopped", "warn"),
    "interrupted": ("interrupted", "warn"),
    "off": ("off", "soft"),
}
SPARK_WIDTH, SPARK_HEIGHT, SPARK_MARGIN = 600, 90, 4


def state_word(state: str) -> str:
    return STATES.get(state, (state, "soft"))[0]


def state_colour(state: str) -> str:
    return STATES.get(state, (state, "soft"))[1]


def clock(seconds: float) -> str:
    """Return a Unix time as "14:05:09 UTC"."""
    return time.strftime("%H:%M:%S UTC", time.gmtime(seconds))


def bytes_words(stage: Mapping[str, Any]) -> str:
    """Return a running stage's bytes, share and time left, or nothing where it has none."""
    total, here = stage.get("total"), stage.get("bytes") or 0
    if stage.get("state") != "running" or not isinstance(total, int | float) or not total:
        return ""
    said = f"{file_size(int(here))} of {file_size(int(total))}"
    left = stage.get("eta_s")
    return f"{said}, {duration(float(left))} left" if isinstance(left, int | float) else said


def progress_words(progress: Mapping[str, Any]) -> str:
    """Return "step 120 of 2,500, epoch 3 of 40, loss 0.4321, 1.20 s a step, 47 min 30 s left"."""
    parts = []
    if isinstance(progress.get("step"), int):
        steps = progress.get("steps")
        parts.append(f"step {progress['step']:,}" + (f" of {steps:,}" if isinstance(steps, int) else ""))
    if isinstance(progress.get("epoch"), int) and isinstance(progress.get("epochs"), int):
        parts.append(f"epoch {progress['epoch']} of {progress['epochs']}")
    for name, words in (("loss", "loss {:.4f}"), ("s_per_step", "{:.2f} s a step")):
        if isinstance(progress.get(name), int | float):
            parts.append(words.format(progress[name]))
    if isinstance(progress.get("eta_s"), int | float):
        parts.append(f"{duration(progress['eta_s'])} left")
    return ", ".join(parts)


def countdown(stop: Mapping[str, Any], now: float) -> str:
    """Return what is going to happen to the pod, when and why."""
    what = "deleted, with everything on its disks" if stop["action"] == "delete" else "stopped"
    left = float(stop["at"]) - now
    when = f"in {duration(left)}" if left > 0 else "now"
    cause = str(stop.get("cause", "")).strip().rstrip(".")
    return f"This pod will be {what} {when}." + (f" Why: {cause}." if cause else "")


def polyline(losses: Sequence[Sequence[float]], width: int, height: int, margin: int) -> str:
    """Return (step, loss) pairs, two or more, as the points of an SVG polyline that fills so many units.

    Above and below it `margin` units stay free, for half of the line's thickness.
    """
    low, high = min(loss for _, loss in losses), max(loss for _, loss in losses)
    first, last = losses[0][0], losses[-1][0]
    return " ".join(
        f"{width * (step - first) / ((last - first) or 1):.1f},"
        f"{margin + (height - 2 * margin) * (1 - (loss - low) / ((high - low) or 1)):.1f}"
        for step, loss in losses
    )


def spark(losses: Sequence[Sequence[float]]) -> str:
    """Return the loss curve as an `<svg>` without inline styles, or nothing where there is no curve yet."""
    if len(losses) < 2:
        return ""
    low, high = min(loss for _, loss in losses), max(loss for _, loss in losses)
    first, last = losses[0][0], losses[-1][0]
    points = polyline(losses, SPARK_WIDTH, SPARK_HEIGHT, SPARK_MARGIN)
    said = escape(f"Loss from step {first:.0f} to {last:.0f}: between {low:.4f} and {high:.4f}")
    return (
        f'<svg class="spark" viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{said}"><title>{said}</title><polyline points="{points}"/></svg>'
    )


WORDS: dict[str, Callable[..., str]] = {
    "word": state_word,
    "colour": state_colour,
    "clock": clock,
    "bytes_words": bytes_words,
    "progress_words": progress_words,
    "countdown": countdown,
    "size": file_size,
    "duration": duration,
}
"""What the templates of the status page and of the run page call, by the name that they know it by."""
