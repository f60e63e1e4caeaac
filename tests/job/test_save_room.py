"""Room on the disk for the saves to come: how many fit, when it is said, when it stops a run."""

from pathlib import Path

import pytest

from musabi.job.plan import Plan, Schedule
from musabi.job.record import ProducedFile
from musabi.job.save_room import (
    Coming,
    Sizes,
    coming_steps,
    is_near,
    may_convert,
    missing,
    saves_that_fit,
    sizes,
    stop_words,
    warning,
)

MB = 1_000_000
LORA, STATE = 100 * MB, 300 * MB
SIZE = Sizes(LORA, STATE, measured=True)
TIMING = Schedule(
    steps_per_epoch=10, epochs=10, steps=100, warmup_steps=0, save_every=2, state_every=5, sample_every=None
)


def test_every_save_to_come_is_counted_and_the_end_of_the_run() -> None:
    assert coming_steps(TIMING, 0) == (20, 40, 50, 60, 80, 100)
    assert coming_steps(TIMING, 59) == (60, 80, 100)
    assert coming_steps(TIMING, 60) == (80, 100)
    assert coming_steps(TIMING, 100) == ()


@pytest.mark.parametrize(
    ("free", "kept", "fits"),
    [
        (399, 0, 0),
        (400, 0, 1),
        (899, 0, 1),  # a save leaves 300 for its state, and 100 each for the LoRA and its converted copy
        (900, 0, 2),
        (1399, 0, 2),  # 500 + 500 are taken; a third save needs 400 for a moment, and 399 are left
        (1400, 0, 3),
        (1599, 0, 3),  # two states are kept from here on, so each save leaves 200 more behind
        (1600, 0, 4),
        (400, 2, 1),
        (599, 2, 1),
        (600, 2, 2),
    ],
)
def test_a_save_needs_all_of_its_bytes_before_an_old_state_goes(free: int, kept: int, fits: int) -> None:
    coming = Coming((1, 2, 3, 4, 5), kept=kept, keep=2)
    assert saves_that_fit(free * MB, SIZE, coming) == fits


def test_sizes_are_those_of_the_newest_save_else_those_that_were_planned() -> None:
    plan = Plan((), checkpoint_bytes=7, state_bytes=9)
    assert sizes([], plan) == Sizes(7, 9, measured=False)
    files = [
        ProducedFile(kind="checkpoint", path=Path("a"), size=5, made=1),
        ProducedFile(kind="checkpoint", path=Path("b"), size=6, made=2),
    ]
    assert sizes(files, plan) == Sizes(6, 9, measured=False)
    files.append(ProducedFile(kind="state", path=Path("c"), size=8, made=2))
    assert sizes(files, plan) == Sizes(6, 8, measured=True)
    assert (Sizes(6, 8, True).surely, Sizes(50, 50, False).surely) == (14, 90)


def test_a_run_is_stopped_only_just_before_the_save() -> None:
    """Until then, someone who reads the warning can make room."""
    assert not is_near(10, 100, 1.0) and is_near(81, 100, 1.0)
    assert not is_near(90, 100, 60.0) and is_near(98, 100, 60.0)
    assert not is_near(10, 100, None) and is_near(99, 100, None)


def test_the_words_say_how_many_saves_fit_and_what_to_free() -> None:
    said = warning(950 * MB, SIZE, 2, Coming((20, 40, 60, 80), 0, 2))
    assert said == (
        "The disk has 950 MB free: that is enough for 2 of the 4 saves to come. "
        "Free 650 MB before step 60, or the run stops there."
    )
    assert stop_words(5_200_000, SIZE, 38).startswith(
        "The disk has 5.2 MB free, but the next save needs 400 MB, so the run was stopped before it, at step 38."
    )


def test_what_is_to_be_freed_is_enough_and_no_more() -> None:
    for free in range(0, 1800 * MB, 50 * MB):
        for kept in (0, 1, 2, 3):
            coming = Coming((1, 2, 3, 4, 5), kept=kept, keep=2)
            needed = free + missing(free, SIZE, coming)
            assert saves_that_fit(needed, SIZE, coming) == 5
            assert needed == free or saves_that_fit(needed - 1, SIZE, coming) < 5


def test_a_conversion_waits_while_its_copy_would_take_the_room_of_the_next_save() -> None:
    coming = Coming((20, 40), kept=0, keep=2)
    assert may_convert(500 * MB, SIZE, coming) and not may_convert(499 * MB, SIZE, coming)
    assert may_convert(0, SIZE, Coming((), kept=2, keep=2))
