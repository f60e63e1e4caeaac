"""musubi-tuner as an engine: a job becomes command lines of its scripts. Pure; imports nothing heavy."""

from collections.abc import Sequence
from pathlib import Path

from musabi.engines.musubi import extra
from musabi.engines.musubi.caching import cache_steps
from musabi.engines.musubi.explain import explain
from musabi.engines.musubi.parser import MusubiParser
from musabi.engines.musubi.reasons import choices, warnings
from musabi.engines.musubi.refusals import refuse
from musabi.engines.musubi.sampling import sample_arguments
from musabi.engines.musubi.scripts import base_environment, require_known, script
from musabi.engines.musubi.training import LAUNCH_ENVIRONMENT, launcher, train_arguments
from musabi.job.engine import Failure
from musabi.job.facts import Facts
from musabi.job.harvest import staging_folder, state_is_whole
from musabi.job.model import Job
from musabi.job.plan import Choice, ResumePoint, Schedule, Step
from musabi.recipes import load

MODEL = "z-image"


class MusubiEngine:
    """Plans for musubi-tuner's own scripts, run by the interpreter of its own environment."""

    name = "musubi"
    saves_on_stop = False

    def processes(self, facts: Facts) -> int:
        """Return the number of GPUs: accelerate shares every batch list out among all of them."""
        return max(1, len(facts.machine.gpus))

    def refuse(self, job: Job, facts: Facts) -> None:
        """Raise a RequestError or MachineError for what would fail or do nothing."""
        refuse(job, facts, load(job.model))

    def cache_steps(self, job: Job, facts: Facts) -> tuple[Step, ...]:
        """Return the caching steps, each with `skip` set where its cache is fresh."""
        return cache_steps(job, facts, load(job.model))

    def train_step(self, job: Job, facts: Facts, schedule: Schedule, resume: ResumePoint | None) -> Step:
        """Return the training step; with `resume` it trains what is left of the schedule.

        Samples of a resumed leg come every `sample_every` epochs from the resumed epoch on.
        """
        recipe = load(job.model)
        arguments = train_arguments(job, facts, recipe, schedule, resume)
        require_known("train", arguments, facts, recipe)
        single = len(facts.machine.gpus) < 2
        threads = {"OMP_NUM_THREADS": "1"} if facts.machine.gpus else {}
        return Step(
            name="train",
            title=f"Train the LoRA on {recipe.title}",
            argv=(*launcher(facts), script("train", facts, recipe), *arguments),
            env=threads | base_environment(facts) | (LAUNCH_ENVIRONMENT if single else {}),
            cwd=facts.trainer.root,
            total=schedule.steps,
            staging=staging_folder(job.output_dir, job.output_name),
            logs=job.logging_dir if resume else None,
            epoch_offset=resume.epoch if resume else 0,
            step_offset=resume.step if resume else 0,
            checkpoint_every=schedule.save_every,
            state_every=schedule.state_every,
        )

    def convert_step(self, source: Path, target: Path, facts: Facts) -> Step:
        """Return the step that writes `source` (native keys) to `target` with ComfyUI's keys."""
        recipe = load(MODEL)
        arguments = ("--input", str(source), "--output", str(target), "--target", recipe.convert_target)
        return Step(
            name="convert",
            title=f"Convert {source.name} for ComfyUI",
            argv=(str(facts.trainer.python), script("convert", facts, recipe), *arguments),
            env=base_environment(facts),
            cwd=facts.trainer.root,
        )

    def sample_step(self, job: Job, facts: Facts, lora: Path | None, folder: Path) -> Step:
        """Return the step that renders the job's prompts into `folder`."""
        recipe = load(job.model)
        extra.refuse_owned(job.extra_sample_args)
        written = folder / f".{job.output_name}.sampling"
        arguments = sample_arguments(job, facts, recipe, lora, written)
        require_known("sample", arguments, facts, recipe)
        return Step(
            name="sample",
            title="Render the sample prompts",
            argv=(str(facts.trainer.python), script("sample", facts, recipe), *arguments),
            env=base_environment(facts),
            cwd=facts.trainer.root,
            pictures=(written, folder, job.output_name),
        )

    def choices(self, job: Job, facts: Facts, schedule: Schedule) -> Sequence[Choice]:
        """Return what was chosen for this job on this machine, and why."""
        return choices(job, facts, load(job.model))

    def warnings(self, job: Job, facts: Facts) -> Sequence[str]:
        """Return what a person should know before the run starts, a sentence each."""
        return warnings(job, facts)

    def parser(self, step: Step) -> MusubiParser:
        """Return a new parser for the step's output."""
        return MusubiParser(step)

    def state_is_whole(self, folder: Path) -> bool:
        """Tell whether a `-state` folder holds everything that a resume needs."""
        return state_is_whole(folder)

    def explain(self, step: Step, exit_code: int, tail: str) -> Failure:
        """Say in one or two plain sentences why a step failed, from the end of its output."""
        return explain(step, exit_code, tail)
