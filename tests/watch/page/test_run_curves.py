import math
from typing import Any

import pytest

from musabi.watch.page.run_curves import (
    MOST_COLUMNS,
    Have,
    Wanted,
    column_width,
    curve,
    epoch_points,
    step_at,
)
from musabi.watch.page.run_series import Growing
from musabi.watch.series import make_series


def growing(count: int, **odd: float) -> Growing:
    made = Growing()
    rows = ((n, n * 2.0, odd.get(f"at_{n}", math.sin(n / 50))) for n in range(1, count + 1))
    made.add(make_series(rows), begins=True)
    return made


@pytest.mark.parametrize(("count", "width"), [(0, 1), (1, 1), (1500, 1), (1501, 2), (100_000, 128)])
def test_a_column_is_as_wide_as_it_must_be(count: int, width: int) -> None:
    assert column_width(count) == width


def test_few_points_are_sent_as_they_are() -> None:
    made = curve(growing(10), Wanted(weight=0.5), smoothing=True)
    assert made["step"] == list(range(1, 11))
    assert made["clock"] == [2.0 * n for n in range(10)]
    assert made["low"] == [float(f"{math.sin(n / 50):.5g}") for n in range(1, 11)]
    assert len(made["smooth"]) == 10 and "high" not in made


def test_no_spike_is_lost_at_100_000_points() -> None:
    made = curve(growing(100_000, at_54321=99.0, at_7=-99.0), Wanted(), smoothing=False)
    assert len(made["step"]) <= MOST_COLUMNS
    assert max(made["high"]) == 99.0 and min(made["low"]) == -99.0
    at = made["high"].index(99.0)
    assert made["step"][at - 1] < 54321 <= made["step"][at]
    assert made["step"][-1] == 100_000


def test_what_the_browser_has_is_not_sent_again_and_put_together_it_is_the_whole() -> None:
    grown = growing(5002)
    before = curve(grown, Wanted(0.9), smoothing=True)
    more = make_series((n, n * 2.0, math.cos(n)) for n in range(5003, 5101))
    grown.add(more, begins=False)
    have = Have(before["cuts"], before["count"], before["width"])
    fresh = curve(grown, Wanted(0.9, have=have), smoothing=True)
    whole = curve(grown, Wanted(0.9), smoothing=True)
    assert len(fresh["step"]) < 30
    for name in ("step", "clock", "low", "high", "smooth"):
        assert before[name][: fresh["from"]] + fresh[name] == whole[name]


@pytest.mark.parametrize("have", [Have(1, 5000, 4), Have(0, 5000, 2), Have(0, 9999, 4)])
def test_everything_is_sent_where_what_the_browser_has_no_longer_holds(have: Have) -> None:
    made: dict[str, Any] = curve(growing(5000), Wanted(have=have), smoothing=False)
    assert made["from"] == 0
    assert made["step"][-1] == 5000


def test_a_range_of_steps_is_sent_in_finer_columns_with_its_neighbours() -> None:
    made = curve(growing(100_000), Wanted(first=50_000, last=50_500), smoothing=False)
    assert made["width"] == 1
    assert (made["step"][0], made["step"][-1]) == (49_999, 50_501)


def test_what_is_no_number_is_null_and_hides_no_neighbour() -> None:
    odd = growing(4000, **{f"at_{n}": math.nan for n in range(1000, 1100)}, at_2000=math.inf)
    made = curve(odd, Wanted(0.5), smoothing=True)
    assert made["width"] == 4
    assert None in made["low"] and None in made["high"]
    assert all(
        value is None or math.isfinite(value) for name in ("low", "high", "smooth") for value in made[name]
    )
    assert made["high"][1999 // 4] is not None


def test_an_epochs_point_stands_at_the_step_that_was_done_when_it_was_logged() -> None:
    grown = growing(100)
    means = [(1.0, 0.5), (2.0, 0.4)]
    assert epoch_points(means, [45.0, 91.0], grown, 20)["step"] == [22, 45]
    assert epoch_points(means, [], grown, 20)["step"] == [20.0, 40.0]
    assert epoch_points(means, [], None, 0)["step"] == [None, None]
    assert step_at(grown, 0.0) == 1
