import math
import random

import pytest

from musabi.watch.convergence import WEAK, Saved, Verdict, best_epoch, convergence_words, judge, spikes
from musabi.watch.series import Point, Series, make_series


def epochs(curve: "list[float]", noise: float = 0.0, seed: int = 1) -> list[Point]:
    rng = random.Random(seed)  # noqa: S311 - a curve, no secret
    return [(float(epoch), value + rng.gauss(0, noise)) for epoch, value in enumerate(curve, 1)]


def steps(values: "list[float]") -> Series:
    return make_series((step, float(step), value) for step, value in enumerate(values, 1))


def noisy(count: int, sigma: float = 0.6, seed: int = 1) -> list[float]:
    rng = random.Random(seed)  # noqa: S311 - a curve, no secret
    return [0.12 * math.exp(rng.gauss(0, sigma)) for _ in range(count)]


FALLING = [0.5 - 0.005 * epoch for epoch in range(40)]
KNEE = [0.5 - 0.02 * min(epoch, 15) for epoch in range(60)]


def words(verdict: Verdict, *, goes_on: bool = False) -> str:
    return " ".join(convergence_words(verdict, goes_on=goes_on))


def test_a_curve_that_falls_is_said_to_be_still_falling() -> None:
    verdict = judge(epochs(FALLING, 0.004), Series())
    assert verdict.how == "falling"
    assert "Still falling." in words(verdict, goes_on=True)
    assert "more epochs may bring more" in words(verdict)


def test_a_curve_that_went_flat_is_said_to_be_flat_since_about_its_knee() -> None:
    verdict = judge(epochs(KNEE, 0.006), Series())
    assert verdict.how == "level"
    assert verdict.since == pytest.approx(16, abs=4)
    assert f"Flat since about epoch {verdict.since:.0f}" in words(verdict)


def test_noise_alone_has_no_trend() -> None:
    assert judge(epochs([0.3] * 30, 0.02), Series()).how in ("scatter", "level")


def test_a_few_epochs_are_too_short_to_say_and_name_no_best_one() -> None:
    verdict = judge(epochs(FALLING[:9]), Series())
    assert "Too short to say: 9 epochs so far, and a trend needs 10." in words(verdict)
    assert verdict.best is None
    assert "no whole epoch" in words(judge([], Series()))
    assert "1 epoch so far" in words(judge(epochs(FALLING[:1]), Series()))


def test_the_checkpoint_nearest_to_the_best_epoch_is_named() -> None:
    curve = [0.3 + 0.01 * abs(epoch - 22) for epoch in range(1, 41)]
    saved = [Saved("Epoch 10", 100, 10), Saved("Epoch 20", 200, 20), Saved("Epoch 30", 300, 30)]
    verdict = judge(epochs(curve), Series(), saved=saved)
    assert verdict.best is not None and verdict.best[0] == pytest.approx(
        23, abs=1
    )  # the average lags a little
    assert verdict.nearest == saved[1]
    assert "The nearest checkpoint: Epoch 20." in words(verdict)


def test_epochs_that_are_as_low_within_the_scatter_are_named_with_the_best() -> None:
    (epoch, _), (first, last) = best_epoch(epochs([0.6 - 0.02 * min(e, 20) for e in range(40)], 0.01))
    assert 18 <= first < epoch <= last
    clean = best_epoch(epochs([0.3 + 0.01 * abs(e - 20) for e in range(40)]))
    assert clean[1][1] - clean[1][0] <= 4  # a sharp valley without noise stays narrow


def test_a_spike_is_found_with_what_was_usual() -> None:
    values = noisy(2000)
    values[1499] = 9.0
    (spike,) = spikes(steps(values))
    assert (spike.step, spike.value) == (1500, 9.0)
    assert spike.usual == pytest.approx(0.12, rel=0.2)
    assert "One spike: step 1,500 (9, usual 0.1" in words(judge([], steps(values)))


def test_neighbouring_spikes_are_one_and_of_many_the_highest_are_named() -> None:
    values = noisy(4000)
    for at, height in ((500, 8.0), (503, 12.0), (1000, 20.0), (2000, 30.0), (3000, 40.0)):
        values[at] = height
    verdict = judge([], steps(values))
    assert [spike.step for spike in verdict.spikes] == [504, 1001, 2001, 3001]
    assert "4 spikes, the highest at step 1,001 (20, " in words(verdict)


@pytest.mark.parametrize("sigma", [0.2, 0.6, 0.9])
def test_the_scatter_of_a_sound_run_is_no_spike(sigma: float) -> None:
    assert len(spikes(steps(noisy(20_000, sigma)))) <= 1


def test_a_loss_that_falls_fast_at_the_start_has_no_spikes() -> None:
    assert spikes(steps([math.exp(-step / 100) + 0.05 for step in range(1000)])) == ()


def test_zeros_and_odd_numbers_do_not_break_the_band() -> None:
    values = noisy(500)
    values[100:110] = [0.0, math.nan, math.inf, -1.0] * 2 + [0.0, 0.0]
    assert spikes(steps(values)) == ()


def test_a_loss_that_was_no_number_is_said_first_and_samples_decide_is_said_last() -> None:
    said = convergence_words(judge(epochs(KNEE, 0.006), Series(), broken=900), goes_on=False)
    assert said[0].startswith("The loss was not a number at step 900.")
    assert said[-1] == WEAK
