"""When the pod is to be stopped: pure decisions at given moments."""

from dataclasses import replace

import pytest

from musabi.pod.stopping.deadline import (
    ATTEMPTS,
    Announce,
    Announcement,
    Attempts,
    CallOff,
    Carry,
    Keep,
    Nothing,
    Rules,
    Standing,
    decide,
    wished,
)

HOUR = 3600.0
BOTH = Rules(lifetime_s=8 * HOUR, idle_s=1800, countdown_s=120)
LIFETIME = Rules(lifetime_s=8 * HOUR)
IDLE = Rules(idle_s=1800)
FRESH = Standing(started=0, active=0)


def announced(rules: Rules, standing: Standing, now: float, keep: Keep | None = None) -> Announcement:
    decision = decide(rules, standing, keep or Keep(), now)
    assert isinstance(decision, Announce)
    return decision.announcement


@pytest.mark.parametrize("now", [0, HOUR, 8 * HOUR - 121])
def test_nothing_is_due_before_the_countdown(now: float) -> None:
    assert decide(LIFETIME, FRESH, Keep(), now) == Nothing()


@pytest.mark.parametrize("now", [0, 1e9])
def test_without_rules_nothing_is_ever_due(now: float) -> None:
    assert decide(Rules(), FRESH, Keep(), now) == Nothing()


def test_the_deadline_is_announced_a_countdown_before() -> None:
    due = announced(LIFETIME, FRESH, 8 * HOUR - 120)
    assert (due.action, due.cause, due.at) == ("stop", "max_hours", 8 * HOUR)


def test_a_guard_that_comes_late_gives_the_whole_countdown_all_the_same() -> None:
    assert announced(LIFETIME, FRESH, 20 * HOUR).at == 20 * HOUR + 120


def test_the_idle_clock_counts_from_the_last_use() -> None:
    used = replace(FRESH, active=5000)
    assert decide(IDLE, used, Keep(), 5000 + 1800 - 121) == Nothing()
    due = announced(IDLE, used, 5000 + 1800 - 120)
    assert (due.cause, due.at) == ("idle", 6800)


def test_a_short_idle_time_is_not_announced_to_those_who_use_the_pod() -> None:
    short = Rules(idle_s=60, countdown_s=120)
    assert decide(short, replace(FRESH, active=1000), Keep(), 1029) == Nothing()
    assert announced(short, replace(FRESH, active=1000), 1030).at == 1150


def test_the_sooner_of_two_causes_is_announced() -> None:
    assert announced(BOTH, FRESH, 1700).cause == "idle"
    busy = replace(FRESH, active=8 * HOUR - 200)
    assert announced(BOTH, busy, 8 * HOUR - 100).cause == "max_hours"


def test_an_announced_stop_is_carried_out_when_its_time_has_come() -> None:
    due = announced(LIFETIME, FRESH, 8 * HOUR - 120)
    standing = replace(FRESH, announcement=due)
    assert decide(LIFETIME, standing, Keep(), 8 * HOUR - 1) == Nothing()
    assert decide(LIFETIME, standing, Keep(), 8 * HOUR) == Carry(due)


def test_use_in_the_countdown_calls_an_idle_stop_off_and_no_other() -> None:
    idle, lifetime = announced(IDLE, FRESH, 1680), announced(LIFETIME, FRESH, 8 * HOUR - 120)
    used = Standing(started=0, active=1750, doing="a notebook is running", announcement=idle)
    assert decide(IDLE, used, Keep(), 1800) == CallOff("the pod is used again: a notebook is running")
    used = Standing(started=0, active=8 * HOUR - 1, announcement=lifetime)
    assert decide(LIFETIME, used, Keep(), 8 * HOUR) == Carry(lifetime)


def test_another_run_calls_the_end_after_the_last_one_off() -> None:
    due = Announcement("delete", "on_finish", 100, 220, "")
    standing = replace(FRESH, announcement=due)
    assert decide(Rules(), standing, Keep(), 150, running="next") == CallOff("another run was started, next")
    assert decide(Rules(), standing, Keep(), 220) == Carry(due)


def test_hours_of_keep_call_the_end_after_a_run_off_until_they_are_over() -> None:
    standing = replace(FRESH, announcement=Announcement("delete", "on_error", 100, 220, ""))
    held = Keep(asked=50, until=200)
    assert decide(Rules(), standing, held, 150) == CallOff("somebody asked to keep the pod")
    assert decide(Rules(), standing, held, 220) == Carry(Announcement("delete", "on_error", 100, 220, ""))


def test_keep_calls_off_and_puts_the_deadline_off_by_an_hour() -> None:
    now = 8 * HOUR - 60
    standing = replace(FRESH, announcement=announced(LIFETIME, FRESH, now - 30))
    keep = wished(LIFETIME, 0, Keep(), now, None)
    assert isinstance(decide(LIFETIME, standing, keep, now), CallOff)
    assert decide(LIFETIME, FRESH, keep, now) == Nothing()
    again = announced(LIFETIME, FRESH, 9 * HOUR - 120, keep)
    assert again.at == 9 * HOUR and "MAX_HOURS=8 and 1 more" in again.why


def test_keep_after_the_deadline_counts_from_now() -> None:
    keep = wished(LIFETIME, 0, Keep(), 10 * HOUR, 2)
    assert announced(LIFETIME, FRESH, 12 * HOUR - 1, keep).at >= 12 * HOUR
    assert decide(LIFETIME, FRESH, keep, 12 * HOUR - 121) == Nothing()


def test_keep_starts_the_idle_clock_anew_and_with_hours_holds_it() -> None:
    assert announced(IDLE, FRESH, 2000 + 1680, wished(IDLE, 0, Keep(), 2000, None)).at == 3800
    held = wished(IDLE, 0, Keep(), 2000, 3)
    assert decide(IDLE, FRESH, held, 2000 + 3 * HOUR + 1000) == Nothing()
    assert announced(IDLE, FRESH, 2000 + 3 * HOUR + 1680, held).at == 2000 + 3 * HOUR + 1800


def test_a_wish_of_before_the_announcement_does_not_call_it_off() -> None:
    keep = wished(IDLE, 0, Keep(), 100, None)
    standing = replace(FRESH, announcement=announced(IDLE, FRESH, 1850, keep))
    assert decide(IDLE, standing, keep, 1860) == Nothing()


@pytest.mark.parametrize(
    "tried", [Attempts(ATTEMPTS, 30_000, "no"), Attempts(2, 30_000, "no"), Attempts(ATTEMPTS, 30_000)]
)
def test_a_stop_that_was_given_up_is_not_begun_again(tried: Attempts) -> None:
    standing = replace(FRESH, attempts={"max_hours": tried, "idle": tried})
    for now in (30_001, 40_000, 400_000):
        assert decide(BOTH, standing, Keep(), now) == Nothing()


def test_a_stop_that_was_given_up_is_begun_for_a_new_cause() -> None:
    tried = Attempts(ATTEMPTS, 30_000, "no")
    standing = replace(FRESH, attempts={"max_hours": tried, "idle": tried})
    used_again = replace(standing, active=31_000)
    assert announced(IDLE, used_again, 33_000).cause == "idle"
    kept = wished(LIFETIME, 0, Keep(), 35_000, 1)
    assert announced(LIFETIME, standing, 35_000 + HOUR, kept).cause == "max_hours"
