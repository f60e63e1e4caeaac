"""What the pod costs so far and by the hour, and when it stops by itself."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from musabi.pod.stopping.container import container_started
from musabi.pod.stopping.cost import Spending, facts_or_reason, spending
from musabi.pod.stopping.provider import PodFacts, this_pod
from musabi.pod.stopping.status import loud_words, stopping_status
from musabi.pod.stopping.store import Store
from musabi.pod.stopping.words import DONE_WORDS, duration
from musabi.watch.page.behind import Behind, kept
from musabi.watch.page.scene import Scene

FACTS_SECONDS = 600.0
AGAIN_SECONDS = 60.0
"""Runpod is asked so often for the price, and sooner where it did not answer."""
END_WORDS = {"on_finish": "When a run is done", "on_error": "When a run failed"}


def facts(scene: Scene) -> PodFacts | str:
    """Return what Runpod says of this pod, asked in a thread; a sentence where it says nothing (yet)."""
    if not scene.settings.runpod_pod_id:
        return facts_or_reason(scene.settings, lambda: this_pod(scene.settings, scene.environ))
    asked = kept(
        scene.memory,
        "pod.facts",
        lambda: Behind(
            lambda: facts_or_reason(scene.settings, lambda: this_pod(scene.settings, scene.environ)),
            lambda found: AGAIN_SECONDS if isinstance(found, str) else FACTS_SECONDS,
        ),
    )
    return asked.newest() or "Runpod is being asked."


def cost(scene: Scene, run: Mapping[str, Any] | None, now: float) -> Spending:
    """Return what is known of the money; `run` is one that goes on here, as `run_values` has it."""
    started = kept(scene.memory, "pod.started", container_started)
    known = spending(scene.settings, facts(scene), container_started=started, now=now)
    left = None if run is None else time_left(run["progress"], now)
    if run is None or left is None:
        return known
    price = None if known.rate is None else known.rate * left / 3600
    return replace(known, run=run["id"], run_left_s=left, run_cost=price)


def time_left(progress: Mapping[str, Any], now: float) -> float | None:
    """Return how many seconds a run still takes by its newest progress; None: it said nothing."""
    left, at = progress.get("eta_s"), progress.get("t")
    if not isinstance(left, int | float):
        return None
    return max(0.0, left - (max(0.0, now - at) if isinstance(at, int | float) else 0.0))


def stopping(scene: Scene, now: float) -> dict[str, Any]:
    """Return what `stopping_status` returns."""
    store = kept(scene.memory, "pod.store", lambda: Store(scene.places))
    return stopping_status(scene.settings, store=store, now=now)


def warnings(stop: dict[str, Any]) -> list[str]:
    """Return what nobody should miss about the pod's end, an announced stop aside."""
    return [line.removeprefix("WARNING: ") for line in loud_words(stop | {"announced": None})]


def rules(stop: Mapping[str, Any], now: float) -> list[tuple[str, str]]:
    """Return when the pod stops by itself, as (what, when)."""
    rows = []
    if stop["deadline"] is not None:
        left = stop["deadline"] - now
        rows.append(
            ("Longest time", f"{duration(left)} left (MAX_HOURS)" if left > 0 else "it is up (MAX_HOURS)")
        )
    if stop["idle_since"] is not None:
        left = max(0.0, stop["idle_stop"] - now)
        rows.append(("Unused", f"stops in {duration(left)} unless it is used (IDLE_MINUTES)"))
    for name, words in END_WORDS.items():
        if stop[name] != "none":
            rows.append((words, f"it is {DONE_WORDS[stop[name]]} ({name.upper()})"))
    return rows
