import math

import pytest

from musabi.watch.series import (
    Series,
    continued,
    make_series,
    smooth,
    smoothing_weight,
    smoothing_window,
    thin,
)


def series_of(*points: tuple[int, float]) -> Series:
    return make_series((step, 1000.0 + step, value) for step, value in points)


def test_a_constant_stays_what_it_is_when_smoothed() -> None:
    assert smooth([3.0] * 50, 0.9) == pytest.approx([3.0] * 50)


def test_smoothing_is_the_moving_average_that_tensorboard_draws() -> None:
    # By hand with weight 0.5: 2/1, (1 + 2)/0.75, (1.5 + 0.5)/0.875 of the undivided averages 1, 3, 2.
    assert smooth([2.0, 5.0, 1.0], 0.5) == pytest.approx([2.0, 4.0, 2.0 / 0.875])


def test_a_value_that_is_no_number_does_not_spoil_the_smoothed_rest() -> None:
    smoothed = smooth([1.0, math.nan, 1.0], 0.5)
    assert math.isnan(smoothed[1])
    assert smoothed[2] == pytest.approx(1.0)


def test_no_smoothing_returns_the_values() -> None:
    assert smooth([1.0, 2.0, 4.0], 0.0) == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(("count", "window"), [(10, 5), (400, 20), (100_000, 500)])
def test_the_window_grows_with_the_run_within_bounds(count: int, window: int) -> None:
    assert smoothing_window(count) == window
    assert smoothing_weight(window) == pytest.approx(1 - 1 / window)


def test_thinning_keeps_peaks_ends_and_order() -> None:
    points = [(float(step), math.sin(step / 500)) for step in range(100_000)]
    points[54_321] = (54_321.0, 99.0)
    points[77_777] = (77_777.0, -99.0)
    kept = thin(points, 600)
    assert len(kept) <= 600
    assert {points[0], points[-1], points[54_321], points[77_777]} <= set(kept)
    assert kept == sorted(kept)


def test_few_points_are_not_thinned() -> None:
    points = [(1.0, 2.0), (2.0, 1.0)]
    assert thin(points, 600) == points


def test_steps_trained_again_after_a_resume_count_once() -> None:
    joined = continued(series_of((1, 0.9), (2, 0.8), (3, 0.7)), series_of((3, 0.65), (4, 0.6)))
    assert list(joined.steps) == [1, 2, 3, 4]
    assert list(joined.values) == [0.9, 0.8, 0.65, 0.6]


def test_a_leg_that_logged_nothing_changes_nothing() -> None:
    earlier = series_of((1, 0.9))
    assert continued(earlier, Series()) is earlier


def test_points_leave_out_what_is_no_number_and_its_first_step_is_known() -> None:
    series = series_of((1, 0.5), (2, math.nan), (3, math.inf))
    assert series.points() == [(1.0, 0.5)]
    assert series.first_not_finite() == 2
    assert series_of((1, 0.5)).first_not_finite() is None
