"""Which of musubi-tuner's arguments a request may set under their own names: a list of what is allowed.

Everything else is refused, so an argument that a later version adds is, too. Never on it: what names a path, a
module, a class, a host or a token, what the recipe decides (--task, --model_version), and what musabi sets itself.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from musabi.contract.command_line import faults
from musabi.contract.made_for import committed
from musabi.contract.nearest import nearest
from musabi.recipes.recipe import Recipe
from musabi.serverless.request.mistakes import Mistake, shown

TIMESTEPS = frozenset(
    [
        "timestep_sampling",
        "discrete_flow_shift",
        "sigmoid_scale",
        "weighting_scheme",
        "logit_mean",
        "logit_std",
        "mode_scale",
        "min_timestep",
        "max_timestep",
        "num_timestep_buckets",
        "preserve_distribution_shape",
        "guidance_scale",
        "timestep_boundary",
        "ideogram4_timestep_mu",
        "ideogram4_timestep_std",
    ]
)
NETWORK = frozenset({"network_dropout", "scale_weight_norms"})
SCHEDULE = frozenset(
    [
        "lr_decay_steps",
        "lr_scheduler_num_cycles",
        "lr_scheduler_power",
        "lr_scheduler_min_lr_ratio",
        "lr_scheduler_timescale",
    ]
)
MEMORY = frozenset(
    [
        "split_attn",
        "gradient_checkpointing_cpu_offload",
        "img_in_txt_in_offloading",
        "block_swap_h2d_only",
        "block_swap_ring_size",
        "use_pinned_memory_for_block_swap",
        "use_32bit_attention",
    ]
)
SPEED = frozenset(
    [
        "compile_mode",
        "compile_dynamic",
        "compile_fullgraph",
        "compile_cache_size_limit",
        "cuda_allow_tf32",
        "cuda_cudnn_benchmark",
        "max_data_loader_n_workers",
        "persistent_data_loader_workers",
    ]
)
OF_ONE_MODEL = frozenset({"noise_scale_start", "noise_scale_end", "noise_clip_std", "latent_window_size"})
ALLOWED = TIMESTEPS | NETWORK | SCHEDULE | MEMORY | SPEED | OF_ONE_MODEL

INSTEAD = {
    "network_dim": "Use lora_rank.",
    "network_alpha": "It is always lora_rank, as in the original.",
    "rank": "Use lora_rank.",
    "alpha": "It is always lora_rank, as in the original.",
    "max_train_epochs": "Use epochs.",
    "max_train_steps": "Use max_steps.",
    "gradient_checkpointing": "Use activation_checkpointing.",
    "max_grad_norm": "Use gradient_clipping.",
    "lr_warmup_steps": "Use warmup_steps.",
    "lr_scheduler_type": "Use lr_scheduler.",
    "lr_scheduler_args": "Use lr_scheduler and lr_scheduler_num_cycles.",
    "optimizer_args": "Use optimizer_betas, optimizer_weight_decay and optimizer_eps.",
    "save_precision": "Use save_dtype.",
    "mixed_precision": "The model decides it.",
    "fp8_base": "Use transformer_dtype float8.",
    "fp8_scaled": "Use transformer_dtype float8.",
    "train_batch_size": "Use batch_size.",
    "output_name": "Name the repository with output.huggingface.repo_id.",
    "network_module": "The model decides it.",
    "save_state": "States are saved with each LoRA.",
    "num_repeats": "Use dataset.image_repeats and dataset.video_repeats.",
}
"""What to write in place of names that are no keys of a request, or that musabi sets itself."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
TEXT = re.compile(r"[A-Za-z0-9_.%+-]{1,64}")
"""Texts of the arguments that are allowed: names of choices, and shares such as 5%."""
MOST = 10**12
"""Larger numbers have no meaning anywhere, and some no text (Python's limit on digits)."""


def allowed_for(recipe: Recipe) -> frozenset[str]:
    """Return the names that a request may use for a model: allowed, known to its script, and of use to it."""
    script = committed().scripts.get(recipe.scripts.train.file)
    known = {flag.removeprefix("--") for flag in (script.options if script else ())}
    return (ALLOWED & known) - {flag.removeprefix("--") for flag in recipe.unusable}


def arguments(extra: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the arguments that say the keys: `--name=value`, which no value can break out of."""
    made = []
    for name, value in extra.items():
        if value is True:
            made.append(f"--{name}")
        elif value is not False and value is not None:
            made.append(f"--{name}={value}")
    return tuple(made)


def extra_mistakes(extra: Mapping[str, Any], recipe: Recipe, known: Sequence[str]) -> Iterator[Mistake]:
    """Yield what is wrong with keys that are to become arguments; `known` are names of documented keys."""
    allowed = allowed_for(recipe)
    for name, value in extra.items():
        path = f"training.{shown(name, quoted=False)}"
        if name not in allowed:
            yield Mistake(path, unknown(name, recipe.title, (*allowed, *known)))
        elif (why := _wrong_value(name, value, recipe)) is not None:
            yield Mistake(path, why)


def unknown(name: str, title: str, known: Sequence[str]) -> str:
    """Say that a key is none of a request's, with what was probably meant."""
    if (why := forbidden(name)) is not None:
        return why
    said = f"training.{shown(name, quoted=False)}"
    near = nearest(name, known) if NAME.fullmatch(name) else None
    hint = f"Did you mean {near}?" if near else "Leave it out."
    return f"{said} is no parameter of {title} with musubi-tuner. {hint}"


def forbidden(name: str) -> str | None:
    """Return why a request can't set an argument of musubi-tuner, whatever it trains; None for any other name."""
    if name not in INSTEAD and name not in _arguments():
        return None
    said = f"training.{shown(name, quoted=False)}"
    return f"{said} can't be set by a request. {INSTEAD.get(name, 'Leave it out.')}"


def _wrong_value(name: str, value: object, recipe: Recipe) -> str | None:
    """Return why the trainer would not take the value, or None."""
    said = f"training.{name}"
    if isinstance(value, Mapping | list | tuple):
        return f"{said} takes one value, not {shown(value)}."
    if isinstance(value, str) and not TEXT.fullmatch(value):
        return f"{said} can't be {shown(value)}. Write a name or a number."
    if not isinstance(value, str) and value is not None and not -MOST <= value <= MOST:  # type: ignore[operator]
        return f"{said} can't be {shown(value)}. Write a number that is not so large."
    script = recipe.scripts.train.file
    switch = committed().scripts[script].options[f"--{name}"].switch
    if switch != isinstance(value, bool):
        return f"{said} takes {'true or false' if switch else 'a value'}, not {shown(value)}."
    found = [one.message for one in faults(committed(), script, arguments({name: value})) if one.refused]
    needed = _complaints_about_none(script)
    return next((_in_words(said, message) for message in found if message not in needed), None)


@cache
def _complaints_about_none(script: str) -> frozenset[str]:
    """Return what is said of an empty command line: the arguments that musabi gives itself."""
    return frozenset(one.message for one in faults(committed(), script, ()))


def _in_words(said: str, message: str) -> str:
    """Return a fault of the contract as one of the request: "The installed X takes Y for --name, not ..."."""
    _, takes, rest = message.partition(" takes ")
    what = re.sub(r" for --\w+", "", rest) if takes else message
    return f"{said} takes {what}" if takes else f"{said}: {message}"


@cache
def _arguments() -> frozenset[str]:
    """Return the arguments of all training scripts."""
    scripts = (script for file, script in committed().scripts.items() if "train" in file)
    return frozenset(flag.removeprefix("--") for script in scripts for flag in script.options)
