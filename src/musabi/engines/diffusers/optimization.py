"""The optimizer's arguments and why it was chosen: pure."""

from musabi.job.facts import Facts
from musabi.job.model import Job
from musabi.job.plan import Choice


def uses_adamw_8bit(job: Job, facts: Facts) -> bool:
    """Tell whether the 8-bit optimizer was asked for and has what it needs: bitsandbytes and a GPU."""
    return (
        job.optimizer == "adamw8bit" and "bitsandbytes" in facts.trainer.packages and bool(facts.machine.gpus)
    )


def optimizer_arguments(job: Job, facts: Facts, warmup: int) -> tuple[str, ...]:
    """Return the optimizer and its learning-rate schedule, as the musubi engine passes them."""
    if job.optimizer == "prodigy":
        return (
            *("--optimizer_type", "prodigyopt.Prodigy", "--learning_rate", "1.0", "--optimizer_args"),
            *("decouple=True", "weight_decay=0.01", "betas=0.9,0.99", "use_bias_correction=True"),
            f"safeguard_warmup={job.prodigy_safeguard_warmup}",
            f"d_coef={job.prodigy_d_coef!r}",
            *("--lr_scheduler", "constant"),
        )
    return (
        *("--optimizer_type", "AdamW8bit" if uses_adamw_8bit(job, facts) else "AdamW"),
        *("--learning_rate", f"{job.learning_rate!r}"),
        *("--lr_scheduler", "cosine_with_restarts", "--lr_warmup_steps", str(warmup)),
    )


def optimizer_choice(job: Job, facts: Facts) -> Choice:
    """Return which optimizer is used, and why."""
    if job.optimizer == "prodigy":
        return Choice("optimizer", "Prodigy", "it finds the learning rate by itself, so that one is 1.0")
    rate = f"at most {job.learning_rate:g}, warmed up, then falling as a cosine"
    if uses_adamw_8bit(job, facts):
        return Choice("optimizer", "AdamW8bit", rate)
    if job.optimizer == "adamw8bit":
        return Choice("optimizer", "AdamW", f"AdamW8bit needs bitsandbytes and a GPU; {rate}")
    return Choice("optimizer", "AdamW", rate)
