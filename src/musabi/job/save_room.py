"""Whether the disk has room for the saves to come. Pure: sizes in bytes in, counts and sentences out."""

from collections.abc import Iterable
from dataclasses import dataclass

from musabi.job.plan import Plan, Schedule
from musabi.job.record import ProducedFile

ESTIMATED_SHARE = 0.9
"""What was not measured may be smaller than planned: this share of it is surely needed."""
NEAR_S = 20.0
NEAR_STEPS = 2


@dataclass(frozen=True)
class Sizes:
    """What one save writes: a LoRA file and a state, in bytes; `measured` from a save of this run or planned."""

    checkpoint: int
    state: int
    measured: bool

    @property
    def save(self) -> int:
        return self.checkpoint + self.state

    @property
    def files(self) -> int:
        """The LoRA file and its converted copy: what a save leaves behind besides states."""
        return 2 * self.checkpoint

    @property
    def surely(self) -> int:
        return self.save if self.measured else int(self.save * ESTIMATED_SHARE)


@dataclass(frozen=True)
class Coming:
    """The saves to come: their steps, how many states are kept on disk now, and how many are kept at most."""

    steps: tuple[int, ...]
    kept: int
    keep: int


def sizes(files: Iterable[ProducedFile], plan: Plan) -> Sizes:
    """Return the sizes of the newest LoRA and state, and what was planned where there is none yet."""
    newest = {file.kind: file.size for file in files if file.kind in ("checkpoint", "state")}
    return Sizes(
        newest.get("checkpoint", plan.checkpoint_bytes),
        newest.get("state", plan.state_bytes),
        measured=newest.keys() == {"checkpoint", "state"},
    )


def coming_steps(schedule: Schedule, step: int) -> tuple[int, ...]:
    """Return the steps after `step` at which something is saved, the end of the run as the last."""
    each = schedule.steps_per_epoch
    epochs = (
        epoch
        for epoch in range(1, schedule.epochs)
        if epoch % schedule.save_every == 0 or epoch % schedule.state_every == 0
    )
    between = (epoch * each for epoch in epochs if step < epoch * each < schedule.steps)
    return (*between, *((schedule.steps,) if step < schedule.steps else ()))


def saves_that_fit(free: int, size: Sizes, coming: Coming) -> int:
    """Return how many of the saves to come fit into `free` bytes, the old states going as new ones come.

    An old state goes only when the new one is whole, so a save needs all of its bytes for a moment.
    """
    kept = coming.kept
    for number, _ in enumerate(coming.steps):
        if free < size.save:
            return number
        free -= size.files
        if kept < coming.keep:
            kept += 1
            free -= size.state
    return len(coming.steps)


def may_convert(free: int, size: Sizes, coming: Coming) -> bool:
    """Tell whether a LoRA may be converted now: its copy must not take the room of the next save."""
    return not coming.steps or free >= size.save + size.checkpoint


def is_near(step: int, save: int, s_per_step: float | None) -> bool:
    """Tell whether a save is so near that waiting longer for room would let the trainer run into it."""
    left = save - step
    return left <= NEAR_STEPS or (s_per_step is not None and left * s_per_step <= NEAR_S)


def missing(free: int, size: Sizes, coming: Coming) -> int:
    """Return how many bytes more than `free` all saves to come need."""
    new_states = min(coming.keep - coming.kept, len(coming.steps) - 1)
    left_behind = size.files * (len(coming.steps) - 1) + size.state * max(0, new_states)
    return max(0, left_behind + size.save - free)


def warning(free: int, size: Sizes, fit: int, coming: Coming) -> str:
    """Say in time that the disk is too small for the saves to come."""
    return (
        f"The disk has {megabytes(free)} free: that is enough for {fit} of the {len(coming.steps)} saves to "
        f"come. Free {megabytes(missing(free, size, coming))} before step {coming.steps[fit]}, or the run stops "
        "there."
    )


def stop_words(free: int, size: Sizes, step: int) -> str:
    """Say that the run was stopped because the next save does not fit."""
    return (
        f"The disk has {megabytes(free)} free, but the next save needs {megabytes(size.save)}, so the run was "
        f"stopped before it, at step {step}. Make room first."
    )


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 10_000_000 else f"{size / 1e6:,.1f} MB"
