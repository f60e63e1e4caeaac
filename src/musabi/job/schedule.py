"""The arithmetic of a run: epochs, steps, when to save. Pure."""

import math

from musabi.job.model import Job
from musabi.job.plan import Choice, Schedule

CHECKPOINTS_A_RUN = 10
WARMUP_STEPS = 100


def schedule(job: Job, steps_per_epoch: int) -> tuple[Schedule, tuple[Choice, ...]]:
    """Return the schedule of the whole run and the reasons for what the job left open.

    `steps_per_epoch` counts optimizer steps: on one GPU the sum over the dataset's buckets of
    images x repeats / batch size, each rounded up; several GPUs share these batches.
    """
    epochs, epochs_why = _epochs(job, steps_per_epoch)
    steps = min(epochs * steps_per_epoch, job.max_train_steps or epochs * steps_per_epoch)
    save_every, save_why = _save_every(job, epochs)
    state_every = min(job.save_state_every_n_epochs or save_every, epochs)
    made = Schedule(
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        steps=steps,
        warmup_steps=0 if job.optimizer == "prodigy" else min(WARMUP_STEPS, steps // 10),
        save_every=save_every,
        state_every=state_every,
        sample_every=job.sample_every_n_epochs,
    )
    return made, (
        Choice("epochs", str(epochs), epochs_why),
        Choice("steps", str(steps), f"{steps_per_epoch} steps an epoch x {epochs} epochs")
        if steps == epochs * steps_per_epoch
        else Choice("steps", str(steps), "asked for"),
        Choice("save every", f"{save_every} epochs", save_why),
    )


def _epochs(job: Job, steps: int) -> tuple[int, str]:
    if job.max_train_epochs is not None:
        return job.max_train_epochs, "asked for"
    if job.max_train_steps is not None:
        return math.ceil(job.max_train_steps / steps), f"enough for {job.max_train_steps} steps"
    epochs = max(1, round(job.target_steps / steps))
    why = f"{job.target_steps} target steps / {steps} steps an epoch = {epochs} epochs"
    return epochs, why + f", {epochs * steps} steps"


def _save_every(job: Job, epochs: int) -> tuple[int, str]:
    asked = job.save_every_n_epochs
    if asked is None:
        every = math.ceil(epochs / CHECKPOINTS_A_RUN)
        return every, "about ten checkpoints a run"
    if asked > epochs:
        return epochs, f"{asked} was asked for, but the run has only {epochs} epochs"
    return asked, "asked for"
