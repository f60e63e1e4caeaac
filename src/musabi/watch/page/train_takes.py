"""What a training takes, in words: steps, time, disk, money. Pure; what is not known is said to be unknown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from musabi.watch.story import count, duration, file_size

Plan = Mapping[str, Any]


@dataclass(frozen=True)
class Speed:
    """Seconds a step that an earlier run took; `run` is its id."""

    seconds: float
    run: str


@dataclass(frozen=True)
class Takes:
    """A line of what a training takes. `colour` is that of page.css."""

    label: str
    value: str
    why: str = ""
    colour: Literal["", "bad", "soft"] = ""


def takes(plan: Plan, speed: Speed | None, free: int | None, rate: float | None) -> tuple[Takes, ...]:
    """Return the lines. `free` is in bytes, `rate` in US dollars an hour; None where unknown."""
    timing = plan.get("schedule")
    if not timing:
        return ()
    begun = int((plan.get("resume") or {}).get("step", 0))
    seconds = None if speed is None else speed.seconds * max(0, timing["steps"] - begun)
    found = (
        _length(timing), _time(seconds, speed), _disk(int(plan.get("disk_bytes") or 0), free),
        _money(seconds, rate),
    )  # fmt: skip
    return tuple(one for one in found if one is not None)


def _length(timing: Mapping[str, Any]) -> Takes:
    epochs, each = count(timing["epochs"], "epoch"), count(timing["steps_per_epoch"], "step")
    return Takes("Length", count(timing["steps"], "step"), f"{epochs}, {each} an epoch")


def _time(seconds: float | None, speed: Speed | None) -> Takes:
    if seconds is None or speed is None:
        return Takes("Time", "unknown", "No earlier run like this one was timed on this machine.", "soft")
    why = f"{speed.seconds:.2f} s a step, as {speed.run} took. Caching, samples and conversion come on top."
    return Takes("Time", f"about {duration(seconds)}", why)


def _disk(size: int, free: int | None) -> Takes:
    there = "" if free is None else f"{file_size(free)} free"
    if not size:
        return Takes("Disk", "unknown", there, "soft")
    if free is not None and size > free:
        short = f"only {there}: keep fewer checkpoints or states, or make room"
        return Takes("Disk", f"about {file_size(size)}", short, "bad")
    return Takes("Disk", f"about {file_size(size)}", there)


def _money(seconds: float | None, rate: float | None) -> Takes | None:
    if rate is None:
        return None
    if seconds is None:
        return Takes("Cost", f"${rate:.2f} an hour", "How long it takes is unknown.")
    price = rate * seconds / 3600
    return Takes("Cost", f"about ${price:.2f}" if price >= 0.01 else "under $0.01", f"at ${rate:.2f} an hour")
