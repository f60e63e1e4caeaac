"""What was chosen for a job, and what a person should know before it starts, in words. Pure."""

from musabi.engines.musubi import extra, fit
from musabi.engines.musubi.side_by_side import caching_side_by_side
from musabi.engines.musubi.training import precision, uses_adamw8bit
from musabi.job.facts import Facts
from musabi.job.model import Job
from musabi.job.plan import Choice
from musabi.recipes import Recipe


def choices(job: Job, facts: Facts, recipe: Recipe) -> tuple[Choice, ...]:
    """Return what was chosen for this job on this machine, and why."""
    fixed = [
        Choice(argument.flag.removeprefix("--"), argument.value or "on", argument.why)
        for argument in recipe.scripts.train.always
    ]
    return (
        Choice("optimizer", *_optimizer(job, facts)),
        Choice("attention", *_attention(job, facts, recipe)),
        *fit.choices(job, facts, recipe),
        Choice("mixed precision", precision(facts, recipe), _why_precision(recipe)),
        Choice("caching", *_caching(job, facts, recipe)),
        Choice("start", *_start(facts)),
        *fixed,
    )


def warnings(job: Job, facts: Facts, recipe: Recipe) -> tuple[str, ...]:
    """Return what a person should know before the run starts, a sentence or two each."""
    found = list(fit.warnings(job, facts, recipe))
    if job.optimizer == "adamw8bit" and not uses_adamw8bit(job, facts):
        found.append(
            "bitsandbytes can't load in the trainer's environment, so AdamW takes AdamW8bit's place."
        )
    if "tensorboard" not in facts.trainer.packages:
        found.append(
            "The trainer's environment has no tensorboard, so no curves are logged. Run musabi bootstrap to "
            "add it."
        )
    if "--base_weights" in extra.flags(job.extra_train_args):
        found.append(
            "--base_weights has an effect only with keys as musubi-tuner writes them (lora_unet_...). "
            "Convert an adapter with other keys first: convert_lora.py --target default."
        )
    if not facts.machine.gpus:
        found.append(
            "There is no GPU here, so musubi-tuner trains on the CPU: good for a trial, too slow for more."
        )
    return tuple(found)


def _optimizer(job: Job, facts: Facts) -> tuple[str, str]:
    if job.optimizer == "prodigy":
        return "Prodigy", "it finds the learning rate by itself, so that one is 1.0"
    rate = f"at most {job.learning_rate:g}, warmed up, then falling as a cosine"
    if uses_adamw8bit(job, facts):
        return "AdamW8bit", rate
    if job.optimizer == "adamw8bit":
        return "AdamW", f"bitsandbytes can't load here; {rate}"
    return "AdamW", rate


def _attention(job: Job, facts: Facts, recipe: Recipe) -> tuple[str, str]:
    kind = fit.attention(job, facts, recipe)
    if kind is None:
        given = extra.flags(job.extra_train_args) & extra.ATTENTION
        return min(given).removeprefix("--"), "asked for"
    if job.attention != "auto":
        return kind, "asked for"
    if kind == "flash_attn":
        return kind, "a kernel of it ran on this machine when its environment was made"
    return kind, "it needs nothing besides torch, and flash-attn was not proven on this machine"


def _why_precision(recipe: Recipe) -> str:
    if recipe.limits.precision == "file":
        return "that of the DiT's file, as the trainer demands"
    return f"what {recipe.title} was made with"


def _caching(job: Job, facts: Facts, recipe: Recipe) -> tuple[str, str]:
    together, why = caching_side_by_side(job, facts, recipe)
    return "latents and captions together" if together else "one after the other", why


def _start(facts: Facts) -> tuple[str, str]:
    gpus = len(facts.machine.gpus)
    if gpus > 1:
        return "accelerate launch", f"{gpus} GPUs train together"
    return "python", "a launcher would import torch once more before the trainer does"
