"""What musubi-tuner can't do with a job, said before anything starts. Pure."""

from musabi.engines.musubi import extra
from musabi.errors import MachineError, RequestError
from musabi.job.facts import Facts
from musabi.job.model import Job
from musabi.job.plan import StepName
from musabi.recipes import Recipe

TRAINING_PROMPTS = (".txt", ".toml", ".json")
OPTIONAL_ATTENTION = {"--flash_attn": "flash_attn", "--xformers": "xformers"}


def refuse(job: Job, facts: Facts, recipe: Recipe) -> None:
    """Raise a RequestError or MachineError for what would fail or do nothing.

    Raises:
        RequestError: an extra argument, a path or a number is wrong.
        MachineError: the trainer's environment or the GPU can't do it.
    """
    _paths(job)
    for args in (job.extra_cache_args, job.extra_train_args, job.extra_sample_args):
        extra.refuse_owned(args)
        extra.refuse_unusable(args, recipe.unusable)
    extra.refuse_combinations(job.extra_train_args)
    extra.refuse_values(job.extra_train_args)
    _warm_up(job)
    _batches_in_8_bits(job, facts)
    _unknown(job, facts, recipe)
    _blocks(job, facts, recipe)
    _packages(job, facts)
    if facts.trainer.missing and (not facts.dataset.text.fresh or job.sample_every_n_epochs):
        raise MachineError(" ".join(facts.trainer.missing))


def _paths(job: Job) -> None:
    named = (("DIT_PATH", job.dit), ("VAE_PATH", job.vae), ("TEXT_ENCODER_PATH", job.text_encoder))
    for variable, path in named:
        if path.suffix != ".safetensors":
            raise RequestError(
                f"{variable} is {path}, but musubi-tuner takes a .safetensors file there, no folder. "
                "Name the file, or the first shard of several."
            )
    if job.sample_every_n_epochs and job.sample_prompts.suffix not in TRAINING_PROMPTS:
        raise RequestError(
            f"SAMPLE_PROMPTS is {job.sample_prompts}, but its name must end in "
            f"{', '.join(TRAINING_PROMPTS)}. Rename it."
        )


def _warm_up(job: Job) -> None:
    given = extra.flags(job.extra_train_args)
    if job.optimizer == "prodigy" and "--lr_warmup_steps" in given and "--lr_scheduler" not in given:
        raise RequestError(
            "--lr_warmup_steps does not go with Prodigy's constant rate, and the trainer would fail. "
            "Leave it out, or add --lr_scheduler constant_with_warmup."
        )


def _batches_in_8_bits(job: Job, facts: Facts) -> None:
    """`--fp8_base` alone can't add masks of several images; fewer batches than images mean several."""
    given = extra.flags(job.extra_train_args)
    several = facts.dataset.batches_per_epoch < facts.dataset.images
    if several and "--fp8_base" in given and not given & {"--fp8_scaled", "--split_attn"}:
        raise RequestError(
            "--fp8_base alone fails with a batch_size above 1. Add --fp8_scaled, or set batch_size = 1 in "
            "the dataset TOML."
        )


def _unknown(job: Job, facts: Facts, recipe: Recipe) -> None:
    passed: tuple[tuple[StepName, tuple[str, ...]], ...] = (
        ("train", job.extra_train_args),
        ("cache-latents", extra.for_latents(job.extra_cache_args)),
        ("cache-text", extra.for_text(job.extra_cache_args)),
        ("sample", job.extra_sample_args),
    )
    for name, args in passed:
        known = facts.trainer.flags.get(name)
        if known:
            extra.refuse_unknown(args, known, recipe.scripts[name].file)


def _blocks(job: Job, facts: Facts, recipe: Recipe) -> None:
    if not job.blocks_to_swap:
        return
    most = recipe.limits.max_blocks_to_swap
    if job.blocks_to_swap > most:
        raise RequestError(
            f"BLOCKS_TO_SWAP is {job.blocks_to_swap}, but {recipe.title} can swap {most} blocks at most. "
            f"Set it to {most} or less."
        )
    if not facts.machine.gpus:
        raise MachineError("BLOCKS_TO_SWAP needs a GPU, and there is none here. Unset it.")


def _packages(job: Job, facts: Facts) -> None:
    packages = facts.trainer.packages
    if job.optimizer == "prodigy" and "prodigyopt" not in packages:
        raise MachineError(
            "The trainer's environment has no prodigyopt, which Prodigy needs. "
            "Run musabi bootstrap, or train with ./train_lora_adamw8bit.sh."
        )
    for flag in sorted(extra.flags(job.extra_train_args) & OPTIONAL_ATTENTION.keys()):
        if OPTIONAL_ATTENTION[flag] not in packages:
            raise MachineError(
                f"{flag} was asked for, but {OPTIONAL_ATTENTION[flag]} was not proven to work in the "
                "trainer's environment, and the trainer would fail at the first step. Leave it out: SDPA "
                "is used."
            )
    if extra.value_of(job.extra_train_args, "--mixed_precision") == "fp16" and not facts.machine.gpus:
        raise MachineError("--mixed_precision fp16 needs a GPU, and there is none here. Leave it out.")
