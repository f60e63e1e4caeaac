"""What the report says of a loss besides its trend: which checkpoint lies near its lowest epoch, and spikes."""

import random
from pathlib import Path

from musabi.watch.checkpoints import Checkpoint, LoraFile
from musabi.watch.loss_words import loss_words
from musabi.watch.losses import Losses
from musabi.watch.series import Series, make_series

PER_EPOCH = 20


def checkpoint(epoch: int | None, label: str, *, there: bool = True) -> Checkpoint:
    return Checkpoint(
        label, label, epoch, None, LoraFile(Path(f"{label}.safetensors"), 1 if there else None), None
    )


def losses(epochs: int, spike_at: int | None = None) -> Losses:
    rng = random.Random(7)  # noqa: S311 - a curve, no secret
    rows = []
    for step in range(1, epochs * PER_EPOCH + 1):
        value = (0.2 + 0.3 * max(0.0, 1 - step / (8 * PER_EPOCH))) * rng.uniform(0.95, 1.05)
        rows.append((step, float(step), 9.0 if step == spike_at else value))
    series: dict[str, Series] = {"loss/current": make_series(rows)}
    return Losses(series, PER_EPOCH, epochs * PER_EPOCH)


def test_the_checkpoint_nearest_to_the_lowest_epochs_is_named() -> None:
    rows = [checkpoint(4, "Epoch 4"), checkpoint(12, "Epoch 12"), checkpoint(None, "End of training")]
    said = " ".join(loss_words(losses(20), rows))
    assert "as low as the lowest one within the scatter; the nearest checkpoint is" in said
    assert "Epoch 4" not in said


def test_a_checkpoint_that_is_gone_is_not_named() -> None:
    said = " ".join(loss_words(losses(20), [checkpoint(12, "Epoch 12", there=False)]))
    assert "checkpoint" not in said


def test_a_spike_is_named_with_its_step() -> None:
    assert any("One spike: step 250" in sentence for sentence in loss_words(losses(20, spike_at=250), []))
    assert not any("spike" in sentence for sentence in loss_words(losses(20), []))


def test_a_short_run_says_what_it_did_before() -> None:
    assert not any("scatter" in sentence for sentence in loss_words(losses(3), [checkpoint(2, "Epoch 2")]))
    assert loss_words(Losses(), []) == []
