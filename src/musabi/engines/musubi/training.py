"""The training command line: pure."""

from math import gcd
from pathlib import Path

from musabi.engines.musubi import extra
from musabi.engines.musubi.curve import curve_of_the_rest
from musabi.job.facts import Facts
from musabi.job.harvest import RAW_LOGS, staging_folder
from musabi.job.model import Job
from musabi.job.plan import ResumePoint, Schedule
from musabi.recipes import Recipe

ADAMW_SCHEDULE = "cosine_with_restarts"
WORKERS = 2
GIB = 1024**3

# What `accelerate launch` (1.6.0, utils/launch.py) sets for one process on one machine. Started so by
# hand, the trainer needs no launcher, whose imports cost as much again as its own.
LAUNCH_ENVIRONMENT = {
    "ACCELERATE_USE_CPU": "False",
    "ACCELERATE_MIXED_PRECISION": "bf16",
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
        *("--dit", str(job.dit), "--vae", str(job.vae), "--dataset_config", str(job.dataset_config)),
        *_always(recipe),
        *_attention(job, facts),
        *_memory(job, facts, recipe),
        *_network(job, recipe),
        *_optimizer(job, facts),
        *_schedule(job, facts, schedule, resume),
        *_saving(job, schedule, resume),
        *_sampling(job, facts, recipe, schedule),
        *_workers(job),
        *job.extra_train_args,
    )


def uses_adamw8bit(job: Job, facts: Facts) -> bool:
    """Tell whether the 8-bit optimizer was asked for and can load."""
    return job.optimizer == "adamw8bit" and "bitsandbytes" in facts.trainer.packages


def holds_dit_in_8_bits(job: Job, facts: Facts, recipe: Recipe) -> bool:
    """Tell whether the DiT is held in fp8 because the smallest GPU is small.

    Not with base weights, which would round away, and not where a person chose a precision.
    """
    given = extra.flags(job.extra_train_args)
    if not facts.machine.gpus or given & {"--base_weights", "--fp8_base", "--fp8_scaled"}:
        return False
    return min(facts.machine.gpus) < recipe.limits.fp8_below_gib * GIB


def attention_flag(job: Job, facts: Facts) -> str | None:
    """Return the attention flag to add, or None where a person passed one on."""
    if extra.flags(job.extra_train_args) & extra.ATTENTION:
        return None
    return "--flash_attn" if "flash_attn" in facts.trainer.packages else "--sdpa"


def save_interval(schedule: Schedule, resume: ResumePoint | None) -> int:
    """Return the trainer's one interval for checkpoints and states, in epochs.

    It hits every epoch that either is asked for, counted from the resumed epoch.
    """
    return gcd(schedule.save_every, schedule.state_every, resume.epoch if resume else 0)


def _always(recipe: Recipe) -> list[str]:
    return [
        part
        for argument in recipe.scripts["train"].always
        for part in ((argument.flag,) if argument.value is None else (argument.flag, argument.value))
    ]


def _attention(job: Job, facts: Facts) -> list[str]:
    flag = attention_flag(job, facts)
    return [flag] if flag else []


def _memory(job: Job, facts: Facts, recipe: Recipe) -> list[str]:
    eight_bits = ["--fp8_base", "--fp8_scaled"] if holds_dit_in_8_bits(job, facts, recipe) else []
    swap = ["--blocks_to_swap", str(job.blocks_to_swap)] if job.blocks_to_swap else []
    return eight_bits + swap


def _network(job: Job, recipe: Recipe) -> list[str]:
    return [
        *("--network_module", recipe.network.module),
        *("--network_dim", str(job.network_dim), "--network_alpha", f"{job.network_alpha:g}"),
    ]


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
    eight_bits = ["--fp8_llm"] if holds_dit_in_8_bits(job, facts, recipe) else []
    return [
        *("--text_encoder", str(job.text_encoder), *eight_bits),
        *("--sample_prompts", str(job.sample_prompts)),
        *("--sample_every_n_epochs", str(schedule.sample_every)),
    ]


def _workers(job: Job) -> list[str]:
    if extra.value_of(job.extra_train_args, "--max_data_loader_n_workers") == "0":
        return []
    return ["--max_data_loader_n_workers", str(WORKERS), "--persistent_data_loader_workers"]


def launcher(facts: Facts) -> tuple[str, ...]:
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
        *("--mixed_precision", "bf16", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"),
    )
