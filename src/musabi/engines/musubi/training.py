"""The training command line: pure."""

from collections.abc import Mapping
from math import gcd
from pathlib import Path

from musabi.engines.lora_steps import native_adapter
from musabi.engines.musubi import extra
from musabi.engines.musubi.curve import curve_of_the_rest
from musabi.engines.musubi.fit import (
    Rung,
    attention,
    fit,
    swap_arguments,
    text_encoder_in_8_bits,
    workers,
)
from musabi.job.facts import Facts
from musabi.job.harvest import RAW_LOGS, staging_folder
from musabi.job.model import Job
from musabi.job.plan import ResumePoint, Schedule
from musabi.recipes import Recipe, Role
from musabi.recipes.recipe import Script

ADAMW_SCHEDULE = "cosine_with_restarts"

# What `accelerate launch` (1.6.0, utils/launch.py) sets for one process on one machine. Started so by
# hand, the trainer needs no launcher, whose imports cost as much again as its own.
_LAUNCH_ENVIRONMENT = {
    "ACCELERATE_USE_CPU": "False",
    "ACCELERATE_DYNAMO_BACKEND": "NO",
    "ACCELERATE_DYNAMO_MODE": "default",
    "ACCELERATE_DYNAMO_USE_FULLGRAPH": "False",
    "ACCELERATE_DYNAMO_USE_DYNAMIC": "False",
}


def train_arguments(
    job: Job, facts: Facts, recipe: Recipe, schedule: Schedule, resume: ResumePoint | None
) -> tuple[str, ...]:
    """Return the arguments of the training script, what a person passed on last."""
    return (
        *weight_arguments(recipe.scripts.train.weights, job),
        *("--dataset_config", str(job.dataset_config), "--mixed_precision", precision(facts, recipe)),
        *always(recipe.scripts.train),
        *_attention(job, facts, recipe),
        *_memory(job, facts, recipe),
        *_network(job, recipe),
        *_adapter(job),
        *_optimizer(job, facts),
        *_schedule(job, facts, schedule, resume),
        *_saving(job, schedule, resume),
        *_sampling(job, facts, recipe, schedule),
        *_workers(job, facts),
        *(("--training_comment", f"trigger word: {job.trigger_word}") if job.trigger_word else ()),
        *(("--show_timesteps", job.show_timesteps) if job.show_timesteps else ()),
        *job.extra_train_args,
    )


def launch_environment(facts: Facts, recipe: Recipe) -> dict[str, str]:
    """Return what the launcher would set for one process."""
    return _LAUNCH_ENVIRONMENT | {"ACCELERATE_MIXED_PRECISION": precision(facts, recipe)}


def weight_arguments(arguments: Mapping[str, Role], job: Job) -> tuple[str, ...]:
    """Return the arguments that take weight files, each with its file."""
    return tuple(part for flag, role in arguments.items() for part in (flag, str(job.weights[role])))


def always(script: Script) -> tuple[str, ...]:
    """Return the arguments that a script always gets."""
    return tuple(
        part
        for argument in script.always
        for part in ((argument.flag,) if argument.value is None else (argument.flag, argument.value))
    )


def precision(facts: Facts, recipe: Recipe) -> str:
    """Return the mixed precision to train in: the recipe's, or that of the DiT's file where it must agree."""
    if recipe.limits.precision != "file":
        return recipe.limits.precision
    return "fp16" if facts.dit_dtype == "F16" else "bf16"


def uses_adamw8bit(job: Job, facts: Facts) -> bool:
    """Tell whether the 8-bit optimizer was asked for and can load."""
    return job.optimizer == "adamw8bit" and "bitsandbytes" in facts.trainer.packages


def save_interval(schedule: Schedule, resume: ResumePoint | None) -> int:
    """Return the trainer's one interval for checkpoints and states, in epochs.

    It hits every epoch that either is asked for, counted from the resumed epoch.
    """
    return gcd(schedule.save_every, schedule.state_every, resume.epoch if resume else 0)


def _attention(job: Job, facts: Facts, recipe: Recipe) -> list[str]:
    kind = attention(job, facts, recipe)
    if kind is None:
        return []
    split = kind in recipe.limits.split_attention and "--split_attn" not in extra.flags(job.extra_train_args)
    return [f"--{kind}", *(["--split_attn"] if split else [])]


def _memory(job: Job, facts: Facts, recipe: Recipe) -> list[str]:
    given = extra.flags(job.extra_train_args)
    rung = fit(job, facts, recipe).rung
    eight_bits = [] if given & {"--fp8_base", "--fp8_scaled"} else list(eight_bit_switches(rung, recipe))
    checkpointing = ["--gradient_checkpointing"] if rung.checkpointing else []
    compiled = ["--compile"] if job.compile else []
    switches = [part for part in (*eight_bits, *checkpointing, *compiled) if part not in given]
    return [*switches, *swap_arguments(rung, job, facts, recipe)]


def eight_bit_switches(rung: Rung, recipe: Recipe) -> tuple[str, ...]:
    """Return the switches that hold the DiT in 8 bits, as far as this model takes them."""
    if not rung.fp8 or recipe.limits.fp8 == "stored":
        return ()
    return ("--fp8_base", "--fp8_scaled") if recipe.limits.fp8 == "scaled" else ("--fp8_base",)


def _network(job: Job, recipe: Recipe) -> list[str]:
    return [
        *("--network_module", str(getattr(recipe.network, job.network_module))),
        *("--network_dim", str(job.network_dim), "--network_alpha", f"{job.network_alpha:g}"),
        *(("--network_args", *job.network_args) if job.network_args else ()),
    ]


def _adapter(job: Job) -> list[str]:
    if "adapter" not in job.weights:
        return []
    return ["--base_weights", str(native_adapter(job.weights["adapter"])), "--base_weights_multiplier", "1.0"]


def _optimizer(job: Job, facts: Facts) -> list[str]:
    if job.optimizer == "prodigy":
        return [
            *("--optimizer_type", "prodigyopt.Prodigy", "--learning_rate", "1.0", "--optimizer_args"),
            *("decouple=True", "weight_decay=0.01", "betas=0.9,0.99", "use_bias_correction=True"),
            f"safeguard_warmup={job.prodigy_safeguard_warmup}",
            f"d_coef={job.prodigy_d_coef!r}",
        ]
    name = "AdamW8bit" if uses_adamw8bit(job, facts) else "AdamW"
    return ["--optimizer_type", name, "--learning_rate", f"{job.learning_rate!r}"]


def _schedule(job: Job, facts: Facts, schedule: Schedule, resume: ResumePoint | None) -> list[str]:
    """Return how long to train and the learning rate's curve; a resumed leg trains the rest."""
    name = "constant" if job.optimizer == "prodigy" else ADAMW_SCHEDULE
    processes = max(1, len(facts.machine.gpus))
    warmup = [] if name == "constant" else ["--lr_warmup_steps", str(schedule.warmup_steps * processes)]
    done_epochs, done_steps = (resume.epoch, resume.step) if resume else (0, 0)
    if job.max_train_steps is None:
        length = ["--max_train_epochs", str(schedule.epochs - done_epochs)]
    else:
        length = ["--max_train_steps", str(schedule.steps - done_steps)]
    made = ["--lr_scheduler", name, *warmup, *length, "--seed", str(job.seed)]
    if resume is None:
        return made
    curve = curve_of_the_rest(name, schedule.warmup_steps, schedule.steps, processes, job.extra_train_args)
    return [*made, *curve, "--resume", str(resume.state)]


def _saving(job: Job, schedule: Schedule, resume: ResumePoint | None) -> list[str]:
    return [
        *("--output_dir", str(staging_folder(job.output_dir, job.output_name))),
        *("--output_name", job.output_name, "--save_precision", job.save_precision),
        *("--save_every_n_epochs", str(save_interval(schedule, resume)), "--save_state"),
        *("--logging_dir", str(raw_logs(job, resume)), "--log_with", "tensorboard"),
        *("--log_prefix", f"{job.output_name}-"),
    ]


def raw_logs(job: Job, resume: ResumePoint | None) -> Path:
    """Return where the trainer logs to; a resumed leg counts from one, so its logs are copied elsewhere."""
    return job.logging_dir if resume is None else staging_folder(job.output_dir, job.output_name) / RAW_LOGS


def _sampling(job: Job, facts: Facts, recipe: Recipe, schedule: Schedule) -> list[str]:
    if schedule.sample_every is None:
        return []
    script = recipe.scripts.train
    small = text_encoder_in_8_bits(job.caching.fp8_text_encoder, facts.machine.gpus, recipe)
    return [
        *weight_arguments(script.while_sampling, job),
        *((script.fp8_text_encoder,) if small and script.fp8_text_encoder else ()),
        *("--sample_prompts", str(job.sample_prompts)),
        *("--sample_every_n_epochs", str(schedule.sample_every)),
    ]


def _workers(job: Job, facts: Facts) -> list[str]:
    if "--max_data_loader_n_workers" in extra.flags(job.extra_train_args):
        return []
    number = workers(job, facts)
    lasting = ["--persistent_data_loader_workers"] if number else []
    return ["--max_data_loader_n_workers", str(number), *lasting]


def launcher(facts: Facts, recipe: Recipe) -> tuple[str, ...]:
    """Return what stands before the training script: the interpreter, with several GPUs the launcher too."""
    python = str(facts.trainer.python)
    processes = len(facts.machine.gpus)
    if processes < 2:
        return (python,)
    config = facts.trainer.accelerate_config
    return (
        *(python, "-m", "accelerate.commands.launch"),
        *(("--config_file", str(config)) if config else ()),
        *("--multi_gpu", "--num_processes", str(processes), "--num_machines", "1"),
        *(
            "--mixed_precision",
            precision(facts, recipe),
            "--dynamo_backend",
            "no",
            "--num_cpu_threads_per_process",
            "1",
        ),
    )
