"""What the pod costs: arithmetic."""

import json
from pathlib import Path

import pytest

from musabi.job.record import RunFolder
from musabi.pod.stopping.cost import spending, spending_words, time_left
from musabi.pod.stopping.provider import PodFacts, facts_of
from musabi.pod.stopping.words import duration
from musabi.settings import load

NOW = 1_800_000_000.0
HOUR = 3600.0


def test_runpods_own_start_of_the_pod_counts_before_the_containers() -> None:
    facts = PodFacts(per_hour=0.5, last_started=NOW - 4 * HOUR)
    cost = spending(load({}), facts, container_started=NOW - HOUR, now=NOW)
    assert (cost.rate, cost.spent, cost.started_from) == (0.5, 2.0, "pod")


@pytest.mark.parametrize("last_started", [None, NOW + 50])
def test_otherwise_the_containers_start_counts(last_started: float | None) -> None:
    facts = PodFacts(per_hour=0.5, last_started=last_started)
    cost = spending(load({}), facts, container_started=NOW - HOUR, now=NOW)
    assert (cost.spent, cost.started_from) == (0.5, "container")


def test_the_price_that_was_set_wins() -> None:
    cost = spending(
        load({"PRICE_PER_HOUR": "3"}), PodFacts(per_hour=1), container_started=NOW - HOUR, now=NOW
    )
    assert (cost.rate, cost.rate_from, cost.spent) == (3, "PRICE_PER_HOUR", 3)


def test_what_is_unknown_is_said_with_its_mend() -> None:
    cost = spending(load({}), "Runpod answered 500.", container_started=NOW - HOUR, now=NOW)
    said = "\n".join(spending_words(cost))
    assert "Rate: unknown. Runpod answered 500. Set PRICE_PER_HOUR" in said
    assert "Spent: unknown, since the container started 60 min ago" in said or "1 h ago" in said
    assert "Storage" not in said


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (PodFacts(volume_gb=100), "100 GB volume costs about $20.00 a month, while the pod is stopped"),
        (
            PodFacts(volume_gb=20, network_volume_gb=100),
            "100 GB network volume costs about $7.00 a month, always",
        ),
    ],
)
def test_storage_is_billed_after_the_pod(facts: PodFacts, said: str) -> None:
    cost = spending(load({}), facts, container_started=NOW, now=NOW)
    assert said in "\n".join(spending_words(cost))


def test_the_rest_of_the_run_is_its_newest_estimate_less_the_time_since(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert time_left(run, NOW) is None
    events = [{"phase": "train", "t": NOW - 100 * n, "eta_s": 1000.0 * n} for n in (3, 2, 1)]
    run.events_file.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert time_left(run, NOW) == 900
    assert time_left(run, NOW + 5000) == 0


@pytest.mark.parametrize(
    ("value", "rate"),
    [("0.74", 0.74), (0.74, 0.74), (0, None), ("", None), ("free", None), (True, None), (-1, None)],
)
def test_a_price_may_be_text_and_nonsense_is_none(value: object, rate: float | None) -> None:
    assert facts_of({"costPerHr": value}).per_hour == rate
    assert facts_of({"costPerHr": value, "lastStartedAt": value}).last_started is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (89, "89 s"),
        (95, "2 min"),
        (3599, "1 h"),
        (7500, "2 h 5 min"),
        (200_000, "2 days 7 h"),
        (-5, "0 s"),
    ],
)
def test_a_time_is_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said
