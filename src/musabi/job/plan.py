"""How a job is carried out: the steps, their command lines and the reason for each choice."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

StepName = Literal["cache-latents", "cache-text", "adapt", "train", "convert", "sample"]


@dataclass(frozen=True)
class Choice:
    """A setting that the planner chose, and why, in words for a person."""

    setting: str
    value: str
    why: str


@dataclass(frozen=True)
class Schedule:
    """The arithmetic of a run, over the whole run and never over the rest of it.

    `steps_per_epoch` and `steps` count optimizer steps; `save_every`, `state_every` and
    `sample_every` (None: never) are in epochs.
    """

    steps_per_epoch: int
    epochs: int
    steps: int
    warmup_steps: int
    save_every: int
    state_every: int
    sample_every: int | None


@dataclass(frozen=True)
class ResumePoint:
    """A whole state to go on from: `epoch` epochs and `step` steps were done when it was saved."""

    state: Path
    epoch: int
    step: int


@dataclass(frozen=True)
class Step:
    """One subprocess of a plan.

    `env` is added to the environment; `cwd` is where it runs. `discard` lists stale files that are
    removed before it starts. `stamp` lists files, each with its text, that are written before it starts
    and say what the files made by it were made from. A step with `skip` is not run, for that reason.
    `staging` is a folder that the trainer writes into; the runner moves whole files from it to
    the output folder and adds `epoch_offset` and `step_offset` to the numbers in their names. A trainer
    that has one interval for checkpoints and states may write more than was asked for: of its epoch
    files those are kept whose epoch is a multiple of `checkpoint_every` (states: `state_every`). `logs` is
    the folder that the event files under staging/logs are copied to, with the offsets added to their steps.
    `output` is (file that the step writes, its final name); the runner renames it when the step is done.
    `pictures` is (folder that a sampler writes into, folder they go to, what their names begin with);
    `first_picture` is the number of the first prompt in it. `beside`: it may run at the same time as the step
    before it.
    """

    name: StepName
    title: str
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    discard: tuple[Path, ...] = ()
    stamp: tuple[tuple[Path, str], ...] = ()
    skip: str | None = None
    total: int | None = None
    staging: Path | None = None
    logs: Path | None = None
    output: tuple[Path, Path] | None = None
    pictures: tuple[Path, Path, str] | None = None
    first_picture: int = 0
    beside: bool = False
    epoch_offset: int = 0
    step_offset: int = 0
    checkpoint_every: int = 1
    state_every: int = 1


@dataclass(frozen=True)
class Fallback:
    """The training step with settings that take less of the GPU's memory; `words` name these settings."""

    words: str
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Everything that will be done, as values: printing it is the dry run.

    `fallbacks` are other ways to run the training step, each with less GPU memory than the one before.
    `checkpoint_bytes` and `state_bytes` are what one LoRA file and one state take on disk (0: not known).
    """

    steps: tuple[Step, ...]
    schedule: Schedule | None = None
    choices: tuple[Choice, ...] = ()
    warnings: tuple[str, ...] = ()
    resume: ResumePoint | None = None
    disk_bytes: int = 0
    checkpoint_bytes: int = 0
    state_bytes: int = 0
    fallbacks: tuple[Fallback, ...] = ()


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as values that JSON can hold."""
    values: dict[str, Any] = _adapter().dump_python(plan, mode="json")
    return values


def plan_from_json(values: dict[str, Any]) -> Plan:
    """Return the plan that `plan_as_json` made the values of."""
    return _adapter().validate_python(values)


@cache
def _adapter() -> TypeAdapter[Plan]:
    """Built on first use: printing a plan does not need it, and a start should not pay for it."""
    return TypeAdapter(Plan)
