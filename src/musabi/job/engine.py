"""What a trainer must offer so that the job core can plan for it and carry the plan out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from musabi.errors import ExitCode
from musabi.job.events import Event
from musabi.job.facts import Facts
from musabi.job.model import Job
from musabi.job.plan import Choice, Plan, ResumePoint, Schedule, Step

FailureKind = Literal["memory", "disk", "other"]


@dataclass(frozen=True)
class Failure:
    """Why a step failed, for a person, and the exit code of the verb that ran it.

    `cause` names the known cause (empty: not known), `kind` what it is about: "memory" is the GPU's. `retry`:
    the same step, run once more, may end well.
    """

    message: str
    exit_code: ExitCode = ExitCode.TRAINER_FAILED
    cause: str = ""
    kind: FailureKind = "other"
    retry: bool = False


class OutputParser(Protocol):
    """Turns the output of one step into events. One is made for each step that runs."""

    def feed(self, text: str) -> list[Event]:
        """Take the next piece of the step's output (stdout and stderr together, any length)."""
        ...


class Engine(Protocol):
    """One trainer. Planning methods are pure: values in, values out, no I/O."""

    @property
    def name(self) -> str: ...

    @property
    def saves_on_stop(self) -> bool:
        """Whether the trainer saves its state when it gets SIGTERM, and ends by itself."""
        ...

    def processes(self, facts: Facts) -> int:
        """Return how many GPUs share a step; an epoch has that many times fewer steps."""
        ...

    def batches_a_step(self, job: Job, facts: Facts) -> int:
        """Return how many batches an optimizer step takes: those of all GPUs that share it, and those added up."""
        ...

    def refuse(self, job: Job, facts: Facts) -> None:
        """Raise a RequestError or MachineError for what this engine or its environment can't do."""
        ...

    def cache_steps(self, job: Job, facts: Facts) -> tuple[Step, ...]:
        """Return the caching steps, each with `skip` set where its cache is fresh."""
        ...

    def adapter_steps(self, job: Job, facts: Facts) -> tuple[Step, ...]:
        """Return the steps that bring what is merged into the model into a form that can be merged."""
        ...

    def train_step(self, job: Job, facts: Facts, schedule: Schedule, resume: ResumePoint | None) -> Step: ...

    def convert_step(self, job: Job, source: Path, target: Path) -> Step:
        """Return the step that writes `source` (native keys) to `target` as ComfyUI reads it."""
        ...

    def sample_steps(
        self, job: Job, facts: Facts, lora: Path | None, folder: Path, strength: float = 1.0
    ) -> tuple[Step, ...]:
        """Return the steps that render the job's prompts into `folder`, with the LoRA at that strength."""
        ...

    def decode_steps(self, job: Job, facts: Facts, latents: Sequence[Path], folder: Path) -> tuple[Step, ...]:
        """Return the steps that decode kept latents (safetensors files) into `folder`."""
        ...

    def choices(self, job: Job, facts: Facts, schedule: Schedule) -> Sequence[Choice]:
        """Return what the engine chose by itself for this job on this machine, and why."""
        ...

    def warnings(self, job: Job, facts: Facts) -> Sequence[str]:
        """Return what a person should know before the run starts, a sentence each."""
        ...

    def easier(self, job: Job, facts: Facts, plan: Plan) -> tuple[Job, str] | None:
        """Return the job with settings that take less of the GPU's memory, and these settings in words.

        None where there is nothing left to try. `plan` is what was planned before anything was changed.
        """
        ...

    def parser(self, step: Step) -> OutputParser: ...

    def state_is_whole(self, folder: Path) -> bool:
        """Tell whether a `-state` folder holds everything that a resume needs."""
        ...

    def explain(self, step: Step, exit_code: int, tail: str) -> Failure:
        """Say in one or two plain sentences why a step failed, from the end of its output."""
        ...
