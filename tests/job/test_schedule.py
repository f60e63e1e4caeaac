"""Epochs, steps, warm-up and save intervals."""

from collections.abc import Callable

import pytest

from musabi.job.model import Job
from musabi.job.schedule import schedule

MakeJob = Callable[..., Job]


def test_epochs_come_from_the_target_steps_and_the_sum_is_said(make_job: MakeJob) -> None:
    timing, choices = schedule(make_job(), 27)
    assert (timing.epochs, timing.steps) == (93, 2511)
    assert choices[0].why == "2500 target steps / 27 steps an epoch = 93 epochs, 2511 steps"


@pytest.mark.parametrize(("target", "epochs"), [(2000, 74), (3000, 111)])
def test_the_readme_numbers_for_54_images_in_pairs_hold(make_job: MakeJob, target: int, epochs: int) -> None:
    assert schedule(make_job(target_steps=target), 27)[0].epochs == epochs


@pytest.mark.parametrize(("epochs", "every"), [(1, 1), (9, 1), (10, 1), (11, 2), (93, 10), (100, 10)])
def test_a_run_leaves_about_ten_checkpoints(make_job: MakeJob, epochs: int, every: int) -> None:
    timing, _ = schedule(make_job(max_train_epochs=epochs), 5)
    assert timing.save_every == every
    assert timing.state_every == every


def test_a_save_interval_longer_than_the_run_is_shortened_and_said(make_job: MakeJob) -> None:
    timing, choices = schedule(make_job(max_train_epochs=16, save_every_n_epochs=20), 5)
    assert timing.save_every == 16
    assert choices[2].why == "20 was asked for, but the run has only 16 epochs"


def test_warm_up_is_at_most_a_tenth_of_the_run_and_prodigy_has_none(make_job: MakeJob) -> None:
    def warmup(optimizer: str, epochs: int) -> int:
        return schedule(make_job(optimizer=optimizer, max_train_epochs=epochs), 10)[0].warmup_steps

    assert warmup("adamw8bit", 200) == 100
    assert warmup("adamw8bit", 30) == 30
    assert warmup("prodigy", 200) == 0


def test_a_step_limit_ends_the_run_inside_an_epoch(make_job: MakeJob) -> None:
    timing, _ = schedule(make_job(max_train_steps=13), 5)
    assert (timing.epochs, timing.steps) == (3, 13)
