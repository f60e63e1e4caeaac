"""musubi-tuner as an engine: a job becomes command lines of its scripts. Pure; imports nothing heavy."""

from collections.abc import Sequence
from pathlib import Path

from musabi.engines.lora_steps import adapter_step, to_comfyui_step
from musabi.engines.musubi import extra
from musabi.engines.musubi.caching import cache_steps
from musabi.engines.musubi.explain import explain
from musabi.engines.musubi.fit import easier
from musabi.engines.musubi.parser import MusubiParser
from musabi.engines.musubi.reasons import choices, warnings
from musabi.engines.musubi.refusals import refuse, weight_settings
from musabi.engines.musubi.sampling import decode_steps, sample_steps
from musabi.engines.musubi.scripts import base_environment, require_accepted, script
from musabi.engines.musubi.training import launch_environment, launcher, train_arguments
from musabi.job.engine import Failure
from musabi.job.facts import Facts
from musabi.job.harvest import staging_folder, state_is_whole
from musabi.job.model import Job
from musabi.job.plan import Choice, Plan, ResumePoint, Schedule, Step
from musabi.recipes import load


class MusubiEngine:
    """Plans for musubi-tuner's own scripts, run by the interpreter of its own environment."""

    name = "musubi"
    saves_on_stop = False

    def processes(self, facts: Facts) -> int:
        """Return the number of GPUs: accelerate shares every batch list out among all of them."""
        return max(1, len(facts.machine.gpus))

    def batches_a_step(self, job: Job, facts: Facts) -> int:
        """Return the GPUs times --gradient_accumulation_steps (trainer_base.py counts an epoch's steps so)."""
        return self.processes(facts) * extra.accumulated(job.extra_train_args)

    def refuse(self, job: Job, facts: Facts) -> None:
        """Raise a RequestError or MachineError for what would fail or do nothing."""
        refuse(job, facts, load(job.model))

    def cache_steps(self, job: Job, facts: Facts) -> tuple[Step, ...]:
        """Return the caching steps, each with `skip` set where its cache is fresh."""
        recipe = load(job.model)
        latents, text = cache_steps(job, facts, recipe)
        require_accepted(latents, facts, recipe, "cache-latents", job.extra_cache_args)
        require_accepted(text, facts, recipe, "cache-text", job.extra_cache_args)
        return latents, text

    def adapter_steps(self, job: Job, facts: Facts) -> tuple[Step, ...]:
        """Return the step that gives a training adapter native keys, where the model has an adapter."""
        recipe = load(job.model)
        if "adapter" not in job.weights:
            return ()
        skip = "its copy with native keys is there" if facts.adapter_is_native else None
        return (adapter_step(job.weights["adapter"], recipe, skip),)

    def train_step(self, job: Job, facts: Facts, schedule: Schedule, resume: ResumePoint | None) -> Step:
        """Return the training step; with `resume` it trains what is left of the schedule.

        Samples of a resumed leg come every `sample_every` epochs from the resumed epoch on.
        """
        recipe = load(job.model)
        arguments = train_arguments(job, facts, recipe, schedule, resume)
        single = len(facts.machine.gpus) < 2
        threads = {"OMP_NUM_THREADS": "1"} if facts.machine.gpus else {}
        step = Step(
            name="train",
            title=f"Train the LoRA on {recipe.title}",
            argv=(*launcher(facts, recipe), script("train", facts, recipe), *arguments),
            env=threads | base_environment(facts) | (launch_environment(facts, recipe) if single else {}),
            cwd=facts.trainer.root,
            total=schedule.steps,
            staging=staging_folder(job.output_dir, job.output_name),
            logs=job.logging_dir if resume else None,
            epoch_offset=resume.epoch if resume else 0,
            step_offset=resume.step if resume else 0,
            checkpoint_every=schedule.save_every,
            state_every=schedule.state_every,
        )
        require_accepted(step, facts, recipe, "train", job.extra_train_args)
        return step

    def convert_step(self, job: Job, source: Path, target: Path) -> Step:
        """Return the step that writes `source` (native keys) to `target` as ComfyUI reads it."""
        return to_comfyui_step(source, target, load(job.model))

    def sample_steps(
        self, job: Job, facts: Facts, lora: Path | None, folder: Path, strength: float = 1.0
    ) -> tuple[Step, ...]:
        """Return the steps that render the job's prompts into `folder`, with the LoRA at that strength."""
        recipe = load(job.model)
        extra.refuse_owned(job.extra_sample_args, weight_settings(recipe))
        steps = sample_steps(job, facts, recipe, lora, folder, strength)
        for step in steps:
            require_accepted(step, facts, recipe, "sample", job.extra_sample_args)
        return steps

    def decode_steps(self, job: Job, facts: Facts, latents: Sequence[Path], folder: Path) -> tuple[Step, ...]:
        """Return the steps that decode kept latents into `folder`."""
        recipe = load(job.model)
        extra.refuse_owned(job.extra_sample_args, weight_settings(recipe))
        steps = decode_steps(job, facts, recipe, latents, folder)
        for step in steps:
            require_accepted(step, facts, recipe, "sample", job.extra_sample_args)
        return steps

    def choices(self, job: Job, facts: Facts, schedule: Schedule) -> Sequence[Choice]:
        """Return what was chosen for this job on this machine, and why."""
        return choices(job, facts, load(job.model))

    def warnings(self, job: Job, facts: Facts) -> Sequence[str]:
        """Return what a person should know before the run starts, a sentence each."""
        return warnings(job, facts, load(job.model))

    def easier(self, job: Job, facts: Facts, plan: Plan) -> tuple[Job, str] | None:
        """Return the job with the next way to train that takes less of the GPU's memory, and what it changes."""
        return easier(job, facts, load(job.model), plan.choices)

    def parser(self, step: Step) -> MusubiParser:
        """Return a new parser for the step's output."""
        return MusubiParser(step)

    def state_is_whole(self, folder: Path) -> bool:
        """Tell whether a `-state` folder holds everything that a resume needs."""
        return state_is_whole(folder)

    def explain(self, step: Step, exit_code: int, tail: str) -> Failure:
        """Say in one or two plain sentences why a step failed, from the end of its output."""
        return explain(step, exit_code, tail)
