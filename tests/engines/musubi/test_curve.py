"""The learning rate of a resumed leg is that of the uninterrupted run."""

import pytest

from musabi.engines.musubi.curve import curve_of_the_rest
from musabi.errors import RequestError

COSINE = "transformers.get_cosine_with_hard_restarts_schedule_with_warmup"


def test_the_curve_is_drawn_over_the_whole_run() -> None:
    assert curve_of_the_rest("cosine_with_restarts", 100, 2511, 1, ()) == (
        "--lr_scheduler_type",
        COSINE,
        "--lr_scheduler_args",
        "num_warmup_steps=100",
        "num_training_steps=2511",
        "num_cycles=1",
    )


def test_with_several_processes_the_scheduler_moves_on_for_each() -> None:
    made = curve_of_the_rest("cosine_with_restarts", 100, 1000, 2, ())
    assert made[3:5] == ("num_warmup_steps=200", "num_training_steps=2000")


def test_a_rate_that_stays_needs_no_length() -> None:
    assert curve_of_the_rest("constant", 0, 2511, 1, ()) == ()


@pytest.mark.parametrize(("given", "steps"), [("50", 50), ("0.1", 100), ("5%", 50), ("0", 0)])
def test_a_warm_up_of_the_extra_arguments_counts_over_the_whole_run(given: str, steps: int) -> None:
    made = curve_of_the_rest("constant", 7, 1000, 1, ("--lr_scheduler", "linear", "--lr_warmup_steps", given))
    assert made[1] == "transformers.get_linear_schedule_with_warmup"
    assert made[3] == f"num_warmup_steps={steps}"


def test_cycles_of_the_extra_arguments_are_kept() -> None:
    made = curve_of_the_rest("cosine_with_restarts", 7, 1000, 1, ("--lr_scheduler_num_cycles=3",))
    assert made[-1] == "num_cycles=3"


def test_a_schedule_of_ones_own_is_left_alone() -> None:
    assert curve_of_the_rest("constant", 0, 9, 1, ("--lr_scheduler_type", "a.B")) == ()


def test_a_schedule_that_can_not_be_continued_is_refused() -> None:
    with pytest.raises(RequestError, match="can't be resumed"):
        curve_of_the_rest("constant", 0, 9, 1, ("--lr_scheduler", "rex"))
