"""What the report says of a run's loss: its convergence, the checkpoint nearest to the lowest loss, and spikes."""

from collections.abc import Sequence

from musabi.watch.checkpoints import Checkpoint
from musabi.watch.convergence import Saved, judge, spike_words
from musabi.watch.losses import Losses
from musabi.watch.series import Series
from musabi.watch.words import convergence, epoch_means


def loss_words(losses: Losses, rows: Sequence[Checkpoint]) -> list[str]:
    """Return the sentences. `rows` are the run's checkpoints; those that are no longer on disk are not named."""
    said = convergence(losses.series, losses.steps_per_epoch)
    means = epoch_means(losses.series, losses.steps_per_epoch)
    each_step = losses.series.get("loss/current") or Series()
    verdict = judge(means, each_step, saved=saved_checkpoints(losses, rows))
    if verdict.good is not None and verdict.good[1] > verdict.good[0]:
        nearest = f"; the nearest checkpoint is {verdict.nearest.label}" if verdict.nearest else ""
        said.append(
            f"Epochs {verdict.good[0]:.0f} to {verdict.good[1]:.0f} are as low as the lowest one within the scatter"
            f"{nearest}."
        )
    elif verdict.nearest is not None:
        said.append(f"The checkpoint nearest to the lowest epoch is {verdict.nearest.label}.")
    return said + ([spike_words(verdict.spikes)] if verdict.spikes else [])


def saved_checkpoints(losses: Losses, rows: Sequence[Checkpoint]) -> list[Saved]:
    """Return the checkpoints that are on disk, each with its step and its epoch."""
    per_epoch = losses.steps_per_epoch
    found = []
    for row in rows:
        if row.on_disk and per_epoch:
            step = row.epoch * per_epoch if row.epoch is not None else row.step or losses.last_step
            found.append(Saved(row.label, step, step / per_epoch))
    return found
