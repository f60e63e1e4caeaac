"""`plan(job, facts, engine)`: pure. What will be done, in order, and why."""

import math
from dataclasses import replace
from pathlib import Path

from musabi.errors import RequestError
from musabi.job.engine import Engine
from musabi.job.facts import CacheFacts, Facts
from musabi.job.model import Job
from musabi.job.plan import Choice, Plan, ResumePoint, Schedule, Step
from musabi.job.retry import fallbacks
from musabi.job.schedule import schedule

# A state holds the LoRA in fp32 and what the optimizer remembers, in bytes a parameter:
# Prodigy keeps two moments, the start value and a running sum; AdamW two moments; AdamW8bit both in 8 bits.
STATE_BYTES = {"prodigy": 4 + 16, "adamw": 4 + 8, "adamw8bit": 4 + 2}
PRECISION_BYTES = {"bf16": 2, "fp16": 2, "float": 4}


def plan_prepare(job: Job, facts: Facts, engine: Engine) -> Plan:
    """Return the plan that only caches.

    Raises:
        RequestError, MachineError: the engine refuses the job or its environment.
    """
    engine.refuse(job, facts)
    return Plan(steps=engine.cache_steps(job, facts), warnings=tuple(engine.warnings(job, facts)))


def plan_training(job: Job, facts: Facts, engine: Engine, resume: ResumePoint | None = None) -> Plan:
    """Return the plan that caches what must be cached, then trains.

    Raises:
        RequestError: the job can't be done so, or a cache that is needed must not be made.
        MachineError: the engine's environment can't do it.
    """
    engine.refuse(job, facts)
    timing, choices = _timing(job, facts, engine)
    _refuse_stale(job, facts)
    if resume is not None and resume.step >= timing.steps:
        raise RequestError(
            f"{resume.state.name} is already at step {resume.step} of {timing.steps}. "
            "Raise MAX_TRAIN_EPOCHS to train longer, or take the LoRA as it is."
        )
    train = engine.train_step(job, facts, timing, resume)
    if job.show_timesteps is not None:
        # Nothing is trained, so nothing is saved, published or done with the pod afterwards.
        shown = replace(train, title="Show the timesteps that would be drawn", staging=None, total=None)
        return Plan(steps=(*engine.cache_steps(job, facts), *engine.adapter_steps(job, facts), shown))
    plan = Plan(
        steps=(*engine.cache_steps(job, facts), *engine.adapter_steps(job, facts), train),
        schedule=timing,
        choices=(*choices, *_own_choices(job, facts), *engine.choices(job, facts, timing)),
        warnings=(*facts.notes, *engine.warnings(job, facts)),
        resume=resume,
        disk_bytes=disk_bytes(job, timing, facts.lora_parameters, resume),
        checkpoint_bytes=facts.lora_parameters * PRECISION_BYTES[job.save_precision],
        state_bytes=facts.lora_parameters * STATE_BYTES[job.optimizer],
    )
    return replace(plan, fallbacks=fallbacks(job, facts, engine, plan))


def plan_whole(
    job: Job,
    facts: Facts,
    engine: Engine,
    resume: ResumePoint | None = None,
    earlier: tuple[Path, ...] = (),
) -> Plan:
    """Return the plan that caches, trains, converts every checkpoint and samples with the last.

    `earlier` are the LoRAs that the run to go on from left, oldest first. Where its training was done, only
    what came after that is planned.

    Raises:
        RequestError, MachineError: as plan_training.
    """
    if resume is not None and earlier and is_trained(job, facts, engine, resume):
        training, loras = _nothing_to_train(job, facts, engine, resume), earlier
    else:
        training = plan_training(job, facts, engine, resume)
        if training.schedule is None:
            return training
        names = checkpoint_names(job, training.schedule, after=resume.epoch if resume else 0)
        loras = (*earlier, *(job.output_dir / name for name in names))
    converts = tuple(convert_step(engine, job, lora) for lora in loras)
    samples = engine.sample_steps(job, facts, loras[-1], job.output_dir / "sample")
    return replace(training, steps=(*training.steps, *converts, *samples))


def is_trained(job: Job, facts: Facts, engine: Engine, resume: ResumePoint) -> bool:
    """Tell whether the state to go on from is the end of the whole training."""
    return resume.step >= _timing(job, facts, engine)[0].steps


def _nothing_to_train(job: Job, facts: Facts, engine: Engine, resume: ResumePoint) -> Plan:
    engine.refuse(job, facts)
    return Plan(steps=(), schedule=_timing(job, facts, engine)[0], resume=resume)


def _timing(job: Job, facts: Facts, engine: Engine) -> tuple[Schedule, tuple[Choice, ...]]:
    return schedule(job, math.ceil(facts.dataset.batches_per_epoch / engine.batches_a_step(job, facts)))


def convert_step(engine: Engine, job: Job, source: Path, target: Path | None = None) -> Step:
    """Return the step that converts a LoRA for ComfyUI: to `target`, or beside it under comfyui/."""
    final = target or source.parent / "comfyui" / source.name
    written = final.with_name(f".{final.stem}.part.safetensors")
    return replace(engine.convert_step(job, source, written), output=(written, final))


def checkpoint_names(job: Job, timing: Schedule, after: int = 0) -> tuple[str, ...]:
    """Return the names of the LoRA files that a run leaves from epoch `after` on, the last one last.

    The last epoch's file has no number (musubi-tuner's rule, kept by every engine).
    """
    first = after // timing.save_every + 1
    numbered = range(first * timing.save_every, timing.epochs, timing.save_every)
    return (
        *(f"{job.output_name}-{epoch:06d}.safetensors" for epoch in numbered),
        f"{job.output_name}.safetensors",
    )


def disk_bytes(job: Job, timing: Schedule, lora_parameters: int, resume: ResumePoint | None = None) -> int:
    """Return how many bytes the run will add to the output folder: checkpoints, each twice, and kept states.

    Each checkpoint has a copy of its size for ComfyUI. One state more than is kept is counted, since the old one
    goes only when the new one is whole.
    """
    first = resume.epoch if resume else 0
    checkpoints = max(1, (timing.epochs - first) // timing.save_every + 1)
    states = min(job.keep_last_states + 1, (timing.epochs - first) // timing.state_every + 1)
    checkpoint = lora_parameters * PRECISION_BYTES[job.save_precision]
    return checkpoints * 2 * checkpoint + states * lora_parameters * STATE_BYTES[job.optimizer]


def _own_choices(job: Job, facts: Facts) -> tuple[Choice, ...]:
    dataset = facts.dataset
    caches = (("latents", dataset.latents), ("captions", dataset.text))
    return tuple(Choice(f"cache {kind}", *_cache_words(cache)) for kind, cache in caches)


def _cache_words(cache: CacheFacts) -> tuple[str, str]:
    if cache.fresh:
        return "keep", f"all {cache.expected} files were made from this dataset and these models"
    if cache.stale:
        return "renew", f"{len(cache.stale)} files were made from something else or are not whole"
    return "make", f"{cache.missing} of {cache.expected} files are missing"


def _refuse_stale(job: Job, facts: Facts) -> None:
    """Training reads every cache file it finds, so it never starts on an empty or stale cache."""
    needed = (
        ("RUN_LATENT_CACHE", job.caching.run_latents, facts.dataset.latents),
        ("RUN_TEXT_ENCODER_CACHE", job.caching.run_text, facts.dataset.text),
    )
    for variable, runs, cache in needed:
        if not runs and not cache.fresh:
            raise RequestError(
                f"The cache is out of date ({_cache_words(cache)[1]}) and {variable}=0 forbids renewing it. "
                f"Unset {variable}, or run prepare first."
            )
