"""What a training takes, in words: nothing is said that is not known."""

import pytest

from musabi.watch.page.train_takes import Speed, takes

PLAN = {"schedule": {"steps": 2400, "epochs": 8, "steps_per_epoch": 300}, "disk_bytes": 2_000_000_000}
SPEED = Speed(1.5, "robot-1")


def said(*known: object, **plan: object) -> dict[str, str]:
    return {one.label: one.value for one in takes(PLAN | plan, *known)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("speed", "rate", "time", "cost"),
    [
        (None, None, "unknown", None),
        (None, 0.74, "unknown", "$0.74 an hour"),
        (SPEED, None, "about 1 h 00 min", None),
        (SPEED, 0.74, "about 1 h 00 min", "about $0.74"),
        (SPEED, 0.001, "about 1 h 00 min", "under $0.01"),
    ],
)
def test_time_and_money_are_worked_out_only_from_what_is_known(
    speed: Speed | None, rate: float | None, time: str, cost: str | None
) -> None:
    found = said(speed, 9_000_000_000, rate)
    assert (found["Length"], found["Time"], found.get("Cost")) == ("2,400 steps", time, cost)


def test_only_the_rest_of_a_run_that_goes_on_is_counted() -> None:
    assert said(SPEED, None, None, resume={"step": 1200})["Time"] == "about 30 min 00 s"


def test_the_disk_is_named_where_it_is_too_small() -> None:
    fits, short = (takes(PLAN, None, free, None)[2] for free in (3_000_000_000, 1_000_000_000))
    assert (fits.value, fits.why, fits.colour) == ("about 2.0 GB", "3.0 GB free", "")
    assert short.colour == "bad" and "only 1.0 GB free" in short.why


def test_what_trains_nothing_takes_nothing() -> None:
    assert takes({"schedule": None}, SPEED, 1, 1.0) == ()
