import math
import random

import pytest

from musabi.watch.series import Series, make_series
from musabi.watch.words import convergence, epoch_ends, epoch_means, slope_in_errors, trend


def series_of(values: list[float], first: int = 1) -> Series:
    return make_series((first + index, 0.0, value) for index, value in enumerate(values))


def scatter(count: int, width: float = 0.01, seed: int = 3) -> list[float]:
    rng = random.Random(seed)  # noqa: S311 - a curve, no secret
    return [rng.uniform(-width, width) for _ in range(count)]


def falling_then_level(epochs: int = 60, knee: int = 25) -> list[float]:
    noise = scatter(epochs)
    return [0.6 - 0.2 * min(epoch, knee) / knee + noise[epoch] for epoch in range(epochs)]


def said(values: list[float], **more: Series) -> str:
    return " ".join(convergence({"loss/epoch": series_of(values), **more}))


def test_a_loss_that_falls_and_levels_out_is_told_so() -> None:
    text = said(falling_then_level())
    assert "fell from 0.5" in text
    assert "no further change stands out" in text
    how, epoch = trend([(float(e), v) for e, v in enumerate(falling_then_level(), start=1)])
    assert how == "level"
    assert epoch is not None
    assert 22 <= epoch <= 30


def test_a_loss_that_still_falls_at_the_end_is_not_called_level() -> None:
    text = said([0.6 - 0.004 * epoch + noise for epoch, noise in enumerate(scatter(50))])
    assert "still falling" in text
    assert "stands out" not in text


def test_a_short_level_end_is_neither_called_level_nor_still_falling() -> None:
    ten = [0.54, 0.50, 0.46, 0.455, 0.413, 0.412, 0.435, 0.423, 0.427, 0.411]
    assert trend([(float(e), v) for e, v in enumerate(ten, start=1)]) == ("fell", 5.0)
    assert "It fell until about epoch 5; too few epochs follow" in said(ten)
    assert "It rose until about epoch 5" in said([1 - value for value in ten])
    straight = [0.6 - 0.02 * epoch + noise for epoch, noise in enumerate(scatter(10, 0.02))]
    assert "still falling" in said(straight)


def test_a_loss_that_rises_points_to_earlier_checkpoints() -> None:
    text = said([0.4 + abs(epoch - 20) * 0.005 + noise for epoch, noise in enumerate(scatter(50))])
    assert "rising towards the end" in text
    assert "lowest at epoch 2" in text


def test_mere_scatter_is_no_trend() -> None:
    text = said([0.5 + noise for noise in scatter(40, 0.05, seed=5)])
    assert "stayed about level" in text
    assert "no trend stands out" in text


def test_few_epochs_get_no_trend() -> None:
    text = said([0.6, 0.5, 0.4])
    assert text == "The mean loss fell from 0.6 in epoch 1 to 0.4 in epoch 3 (33% lower)."


def test_less_than_two_epochs_are_not_called_a_trend() -> None:
    text = " ".join(convergence({"loss/current": series_of([0.6] * 10 + [0.4] * 10)}, steps_per_epoch=100))
    assert "over the first 4 steps" in text
    assert "too little to call it a trend" in text


def test_epochs_are_cut_from_steps_where_they_were_not_logged() -> None:
    series = {"loss/current": series_of([0.6, 0.4, 0.3, 0.1, 0.9])}
    assert epoch_means(series, 2) == [(1.0, pytest.approx(0.5)), (2.0, pytest.approx(0.2))]


def test_the_fixed_loss_is_told_from_start_to_end() -> None:
    text = said([0.5, 0.4], **{"loss/fixed": series_of([0.61, 0.55, 0.48], first=0)})
    assert "fell from 0.61 at step 0 to 0.48 at step 2 (21% lower)" in text
    assert "lowest value" not in text


def test_a_fixed_loss_that_rose_again_names_its_lowest_place() -> None:
    text = said([0.5, 0.4], **{"loss/fixed": series_of([0.61, 0.40, 0.48], first=0)})
    assert "Its lowest value was 0.4, at step 1." in text


def test_a_loss_that_is_no_number_comes_first() -> None:
    text = convergence({"loss/current": series_of([0.5, math.nan, math.nan])})
    assert text[0].startswith("The loss was not a number from step 2 on.")


def test_prodigy_that_never_moved_is_named_with_its_mend() -> None:
    text = said([0.5, 0.5], **{"lr/d*lr/unet": series_of([1e-6] * 20)})
    assert "never got beyond 1e-06" in text
    assert "PRODIGY_D_COEF" in text


def test_prodigy_that_found_its_step_size_is_told_when() -> None:
    text = said([0.5, 0.5], **{"lr/d*lr/unet": series_of([1e-6, 1e-5, 2.9e-4, 3e-4, 3e-4])})
    assert "raised its step size from 1e-06 to 0.0003, most of it by step 3." in text


def test_nothing_logged_says_nothing() -> None:
    assert convergence({}) == []


def test_slopes_are_measured_against_the_scatter() -> None:
    assert slope_in_errors([1.0] * 10) == 0.0
    assert slope_in_errors([1.0, 2.0, 3.0, 4.0]) == math.inf
    assert slope_in_errors([4.0, 3.0, 2.0, 1.0]) == -math.inf
    assert abs(slope_in_errors([1.0, 2.0, 1.0, 2.0, 1.0, 2.0])) < 2


def test_means_that_were_printed_are_taken_at_the_ends_of_whole_epochs() -> None:
    printed = [(9, 0.5), (20, 0.4), (25, 0.9), (40, 0.2), (45, 0.1)]
    series = {"loss/average": make_series((step, 0.0, value) for step, value in printed)}
    assert epoch_ends(series, 10) == [(1.0, 0.5), (2.0, 0.4), (4.0, 0.2)]
    assert epoch_ends({}, 10) == []
    assert epoch_ends({"loss/average": make_series([(0, 0.0, 0.9), (10, 1.0, 0.5)])}, 10) == [(1.0, 0.5)]
