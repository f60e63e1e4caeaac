"""What musubi-tuner can't do with a job, said before anything starts. Pure."""

import re

from musabi.engines.musubi import extra
from musabi.engines.musubi.fit import asked_precision, may_swap
from musabi.errors import MachineError, RequestError
from musabi.job.facts import Facts
from musabi.job.model import Job
from musabi.recipes import Recipe

WEIGHT_FILES = (".safetensors", ".pth", ".pt")
DTYPE_WANTS = {"F16": "fp16", "BF16": "bf16"}
STORED_IN_8_BITS = ("F8_E4M3", "F8_E5M2")
TRAINING_PROMPTS = (".txt", ".toml", ".json")
OPTIONAL_ATTENTION = {"--flash_attn": "flash_attn", "--xformers": "xformers"}


def refuse(job: Job, facts: Facts, recipe: Recipe) -> None:
    """Raise a RequestError or MachineError for what would fail or do nothing.

    Raises:
        RequestError: an extra argument, a path or a number is wrong.
        MachineError: the trainer's environment or the GPU can't do it.
    """
    _paths(job, recipe)
    for args in (job.extra_cache_args, job.extra_train_args, job.extra_sample_args):
        extra.refuse_owned(args, weight_settings(recipe))
        extra.refuse_unusable(args, recipe.unusable)
    extra.refuse_combinations(job.extra_train_args)
    extra.refuse_values(job.extra_train_args)
    extra.refuse_pairs("NETWORK_ARGS", job.network_args)
    _network(job, recipe)
    _warm_up(job)
    _precision(job, facts, recipe)
    _attention(job, recipe)
    _batches_in_8_bits(job, facts)
    _blocks(job, facts, recipe)
    _packages(job, facts)
    _tokenizers(job, facts)


def _tokenizers(job: Job, facts: Facts) -> None:
    """Raise a MachineError where a step that will run reads something from the hub cache that is not there."""
    runs = {
        "cache-latents": not facts.dataset.latents.fresh,
        "cache-text": not facts.dataset.text.fresh,
        "train": True,
        "sample": bool(job.sample_every_n_epochs),
    }
    told = [text for step, will in runs.items() if will for text in facts.trainer.missing.get(step, ())]
    if told:
        raise MachineError(" ".join(dict.fromkeys(told)))


def weight_settings(recipe: Recipe) -> dict[str, str]:
    """Map the scripts' arguments for weight files to the settings that name those files."""
    scripts = recipe.scripts
    each = (scripts.cache_latents, scripts.cache_text, scripts.train, scripts.sample)
    return {
        flag: f"{role.upper()}_PATH"
        for script in each
        for flag, role in (script.weights | script.while_sampling).items()
    }


def _paths(job: Job, recipe: Recipe) -> None:
    folders = {role for role, one in recipe.weights.items() if one.as_folder}
    name = "/".join(job.dit.parts[-2:])
    for pattern, mend in recipe.wrong_dits.items():
        if re.search(pattern, name):
            raise RequestError(f"DIT_PATH is {job.dit}, which is not for MODEL={recipe.name}. {mend}")
    for role, path in job.weights.items():
        if role not in folders and path.suffix not in WEIGHT_FILES:
            raise RequestError(
                f"{role.upper()}_PATH is {path}, but musubi-tuner takes a .safetensors file there, no folder. "
                "Name the file, or the first shard of several."
            )
    if job.sample_every_n_epochs and job.sample_prompts.suffix not in TRAINING_PROMPTS:
        raise RequestError(
            f"SAMPLE_PROMPTS is {job.sample_prompts}, but its name must end in "
            f"{', '.join(TRAINING_PROMPTS)}. Rename it."
        )


def _network(job: Job, recipe: Recipe) -> None:
    if getattr(recipe.network, job.network_module) is None:
        raise RequestError(
            f"NETWORK_MODULE is {job.network_module}, but musubi-tuner can't train one on {recipe.title}. "
            "Set it to lora."
        )
    if job.network_module == "lokr" and recipe.conversion.fused:
        raise RequestError(
            f"NETWORK_MODULE is lokr, but a LoKr on {recipe.title} can't be converted for ComfyUI, which keeps "
            "several of its layers as one. Set it to lora or loha."
        )
    if job.network_args and "--network_args" in extra.flags(job.extra_train_args):
        raise RequestError(
            "NETWORK_ARGS is set and --network_args is passed on, and the trainer would take only one of them. "
            "Put all pairs into NETWORK_ARGS."
        )
    if job.network_module != "lora" and any(pair.startswith("loraplus") for pair in job.network_args):
        raise RequestError(
            "NETWORK_ARGS asks for LoRA+, which only NETWORK_MODULE=lora has. Leave loraplus_lr_ratio out."
        )


def _precision(job: Job, facts: Facts, recipe: Recipe) -> None:
    """The DiT's own number format, the mixed precision and 8 bits must go together."""
    passed_on = "--base_weights" in extra.flags(job.extra_train_args)
    if passed_on and "adapter" in job.weights:
        raise RequestError(
            f"--base_weights can't be passed on with {recipe.title}: the trainer would take it and leave the "
            "adapter out. Set ADAPTER_PATH to what is to be merged instead."
        )
    merged = passed_on or "adapter" in job.weights
    if asked_precision(job) == "fp8" and (recipe.limits.fp8 == "none" or merged):
        raise RequestError(
            f"8 bits do not work here with {recipe.title}. {_why_no_fp8(merged)} Leave DIT_PRECISION=fp8, "
            "--fp8_base and --fp8_scaled out."
        )
    if facts.dit_dtype in STORED_IN_8_BITS and recipe.limits.fp8 == "scaled":
        raise RequestError(
            f"{job.dit} is stored in 8 bits, which {recipe.title} can't be trained from. "
            "Set DIT_PATH to the bf16 file, or unset it."
        )
    asked = extra.value_of(job.extra_train_args, "--mixed_precision")
    wanted = DTYPE_WANTS.get(facts.dit_dtype)
    if recipe.limits.precision == "file" and asked and wanted and asked not in (wanted, "no"):
        raise RequestError(
            f"{job.dit.name} holds {wanted} weights, and the trainer refuses --mixed_precision {asked} with "
            f"them. Leave it out: {wanted} is used."
        )


def _why_no_fp8(merged: bool) -> str:
    if merged:
        return "What is merged into the model would round away. Set BLOCKS_TO_SWAP instead."
    return "Set BLOCKS_TO_SWAP instead."


def _attention(job: Job, recipe: Recipe) -> None:
    if job.attention != "auto" and job.attention not in recipe.limits.attention:
        raise RequestError(
            f"ATTENTION is {job.attention}, but {recipe.title} can be trained with "
            f"{', '.join(recipe.limits.attention)} only. Unset it: what fits is chosen."
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


def _blocks(job: Job, facts: Facts, recipe: Recipe) -> None:
    if not job.blocks_to_swap:
        return
    most = recipe.limits.max_blocks_to_swap
    if job.blocks_to_swap > most:
        raise RequestError(
            f"BLOCKS_TO_SWAP is {job.blocks_to_swap}, but {recipe.title} can swap {most} blocks at most. "
            f"Set it to {most} or less."
        )
    if not may_swap(job, facts, recipe):
        raise RequestError(
            f"BLOCKS_TO_SWAP can't be used here: {recipe.title} swaps blocks only with one image a step, and "
            "not with every argument that is passed on. Set batch_size = 1 in the dataset TOML, or unset it."
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
    for flag in sorted(
        (extra.flags(job.extra_train_args) | {f"--{job.attention}"}) & OPTIONAL_ATTENTION.keys()
    ):
        if OPTIONAL_ATTENTION[flag] not in packages:
            raise MachineError(
                f"{flag} was asked for, but {OPTIONAL_ATTENTION[flag]} was not proven to work in the "
                "trainer's environment, and the trainer would fail at the first step. Leave it out: SDPA "
                "is used."
            )
    if extra.value_of(job.extra_train_args, "--mixed_precision") == "fp16" and not facts.machine.gpus:
        raise MachineError("--mixed_precision fp16 needs a GPU, and there is none here. Leave it out.")
