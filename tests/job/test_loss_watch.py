"""The watch over the loss: what stops a run, and what must never stop one."""

import math
import random
from collections import deque
from collections.abc import Iterable

import pytest

from musabi.job.events import Event
from musabi.job.loss_watch import FLAT_STEPS, LossWatch, Verdict, mend


def watch(losses: Iterable[float], span: int = 4, start: int = 0) -> tuple[Verdict | None, int]:
    """Feed losses as a trainer reports them; return the first verdict and the step of it."""
    watching = LossWatch(span, start)
    step = start
    for step, loss in enumerate(losses, start + 1):
        verdict = watching.take(Event("train", step=step, loss=loss))
        if verdict is not None:
            return verdict, step
    return None, step


def noise(seed: int, steps: int, sigma: float = 1.0) -> list[float]:
    """Losses of single steps: of a log-normal law, so that one in a hundred is ten times the usual one."""
    rng = random.Random(seed)  # noqa: S311 - a test
    return [0.3 * math.exp(rng.gauss(0, sigma)) for _ in range(steps)]


def averaged(losses: Iterable[float], span: int) -> list[float]:
    """What trainers report: the average over the last epoch's steps, with three digits."""
    newest: deque[float] = deque(maxlen=span)
    said = []
    for loss in losses:
        newest.append(loss)
        said.append(float(f"{sum(newest) / len(newest):.3g}"))
    return said


@pytest.mark.parametrize("span", [1, 3, 27, 500])
@pytest.mark.parametrize("seed", range(4))
def test_the_noise_of_a_sound_run_never_stops_it(span: int, seed: int) -> None:
    assert watch(averaged(noise(seed, 4000), span), span)[0] is None


@pytest.mark.parametrize("span", [3, 27, 500])
@pytest.mark.parametrize("spike", [30.0, 1000.0, 1e6])
def test_one_odd_step_never_stops_a_run_though_the_average_keeps_it_for_an_epoch(
    span: int, spike: float
) -> None:
    losses = noise(1, 2500, 0.7)
    losses[700] = spike
    assert watch(averaged(losses, span), span)[0] is None


def test_a_loss_of_several_times_the_lowest_is_sound() -> None:
    """Other images, other time steps: what is below ten times the lowest is left alone."""
    assert watch([0.4] * 60 + [0.1] * 200 + [0.95] * 300)[0] is None


def test_a_loss_that_falls_far_and_comes_back_to_the_start_is_sound() -> None:
    losses = [1.0] * 60 + [0.01] * 200 + [0.9] * 200
    assert watch(losses)[0] is None


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_stops_the_run_at_once(loss: float) -> None:
    verdict, step = watch([1.0, 0.9, 0.8, loss])
    assert step == 4 and verdict is not None
    assert (verdict.what, verdict.bad_from) == ("The loss is no number any more at step 4", 4)


def test_a_loss_that_is_flat_at_zero_stops_the_run() -> None:
    verdict, step = watch([1.0, 0.5] + [0.0] * 50)
    assert step == 2 + FLAT_STEPS and verdict is not None
    assert (verdict.what, verdict.bad_from) == ("The loss is flat at zero since step 3", 3)
    assert watch([0.5, 0.0, 0.0, 0.0] * 50)[0] is None


@pytest.mark.parametrize("span", [1, 3, 27, 500])
def test_a_loss_that_explodes_stops_the_run_and_tells_from_where_on(span: int) -> None:
    losses = noise(2, 600, 0.7) + [value * 1.2**n for n, value in enumerate(noise(3, 200, 0.5))]
    verdict, step = watch(averaged(losses, span), span)
    assert verdict is not None and verdict.what.startswith("The loss explodes")
    assert 600 <= step <= 720
    assert verdict.bad_from <= 600 + 60


@pytest.mark.parametrize("span", [1, 3, 27])
def test_a_loss_that_stays_far_too_high_stops_the_run_though_it_does_not_rise(span: int) -> None:
    losses = noise(2, 300, 0.5) + [value * 200 for value in noise(3, 300, 0.5)]
    verdict, step = watch(averaged(losses, span), span)
    assert verdict is not None
    assert step <= 300 + 2 * span + 40


def test_a_resumed_run_keeps_the_state_that_it_went_on_from() -> None:
    verdict, _ = watch([math.nan], start=120)
    assert verdict is not None and verdict.bad_from == 121


def test_a_bar_that_is_drawn_twice_counts_once() -> None:
    watching = LossWatch(4)
    for _ in range(50):
        assert watching.take(Event("train", step=3, loss=0.0)) is None


def test_only_the_trainings_own_loss_is_watched_and_a_verdict_comes_once() -> None:
    watching = LossWatch(4)
    assert watching.take(Event("train", step=1, loss=math.nan, kind="fixed-loss")) is None
    assert watching.take(Event("sample", step=1, loss=math.nan)) is None
    assert watching.take(Event("train", step=1)) is None
    assert watching.take(Event("train", step=1, loss=math.nan)) is not None
    assert watching.take(Event("train", step=2, loss=math.nan)) is None


def test_the_mend_names_a_state_only_where_there_is_one() -> None:
    assert "go on from demo-000004-state" in mend("demo-000004-state")
    assert "--resume" not in mend(None)


def test_a_loss_that_is_no_number_after_a_high_one_spoils_no_state_from_before_it() -> None:
    verdict, _ = watch([0.1] * 20 + [0.5] * 30 + [math.nan])
    assert verdict is not None and verdict.bad_from == 51


def test_an_explosion_began_where_the_loss_was_too_high_for_the_first_time() -> None:
    verdict, _ = watch([0.1] * 20 + [0.5] * 30 + [100.0 * 1.1**n for n in range(40)])
    assert verdict is not None and verdict.bad_from == 51
