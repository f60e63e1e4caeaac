"""What the pod costs: its rate, what was spent, what the rest of the run and the storage will cost."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from musabi.job.events import Event, read
from musabi.job.record import RunFolder
from musabi.pod.stopping.provider import Pod, PodFacts, ask_facts
from musabi.pod.stopping.words import duration
from musabi.settings import Settings

# US dollars for a GB and month (docs.runpod.io/pods/storage/types): a pod's own volume costs twice as much
# while the pod is stopped; a network volume is billed whether a pod uses it or not.
VOLUME_STOPPED = 0.20
NETWORK_VOLUME = 0.07
MEND = "Set PRICE_PER_HOUR to the price that Runpod's console shows."


@dataclass(frozen=True)
class Spending:
    """Money in US dollars, times in seconds, `started` in Unix seconds; None where unknown.

    `rate_from` is PRICE_PER_HOUR or Runpod; `reason` says why Runpod told nothing. `started` is when Runpod
    last started the pod, where it says so, else when the container started.
    """

    rate: float | None
    rate_from: str | None
    reason: str | None
    started: float
    started_from: str
    up_s: float
    spent: float | None
    run: str | None
    run_left_s: float | None
    run_cost: float | None
    storage: str | None
    storage_gb: float | None
    storage_month: float | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def spending(
    settings: Settings,
    facts: PodFacts | str,
    *,
    container_started: float,
    now: float,
    run: RunFolder | None = None,
) -> Spending:
    """Work the costs out from what Runpod said (or why it said nothing)."""
    known = PodFacts() if isinstance(facts, str) else facts
    rate = settings.price_per_hour or known.per_hour
    rate_from = "PRICE_PER_HOUR" if settings.price_per_hour else "Runpod" if known.per_hour else None
    believed = known.last_started is not None and known.last_started <= now
    started = known.last_started if believed and known.last_started is not None else container_started
    up_s = max(0.0, now - started)
    left = None if run is None else time_left(run, now)
    kind, size, month = _storage(known)
    return Spending(
        rate=rate,
        rate_from=rate_from,
        reason=facts if isinstance(facts, str) else None,
        started=started,
        started_from="pod" if believed else "container",
        up_s=up_s,
        spent=None if rate is None else rate * up_s / 3600,
        run=None if run is None else run.path.name,
        run_left_s=left,
        run_cost=None if rate is None or left is None else rate * left / 3600,
        storage=kind,
        storage_gb=size,
        storage_month=month,
    )


def facts_or_reason(settings: Settings, pod: Callable[[], Pod]) -> PodFacts | str:
    """Ask Runpod about the pod; a sentence where there is nothing to ask."""
    if not settings.runpod_pod_id:
        return "This is not a Runpod pod, so Runpod can't be asked."
    return ask_facts(pod())


def time_left(run: RunFolder, now: float) -> float | None:
    """Return how long the run's training will still take, by its newest progress, or None where it said nothing."""
    newest: Event | None = None
    for event in read(run.events_file):
        if event.eta_s is not None and event.t is not None:
            newest = event
    if newest is None or newest.eta_s is None or newest.t is None:
        return None
    return max(0.0, newest.eta_s - max(0.0, now - newest.t))


def spending_words(cost: Spending) -> list[str]:
    """Return the costs in lines. What is unknown is said, with its mend."""
    since = "Runpod started the pod" if cost.started_from == "pod" else "the container started"
    up = f"since {since} {duration(cost.up_s)} ago"
    if cost.rate is None or cost.spent is None:
        lines = [f"Rate: unknown. {cost.reason or 'Runpod named no price.'} {MEND}", f"Spent: unknown, {up}"]
    else:
        lines = [f"Rate: ${cost.rate:.2f} an hour ({cost.rate_from})", f"Spent: ${cost.spent:.2f} {up}"]
    lines += _run_words(cost)
    if cost.storage_month is not None and cost.storage_gb is not None:
        when = "always" if cost.storage == "network volume" else "while the pod is stopped"
        size = f"{cost.storage_gb:.0f} GB {cost.storage}"
        lines.append(f"Storage: the {size} costs about ${cost.storage_month:.2f} a month, {when}")
    return lines


def _run_words(cost: Spending) -> list[str]:
    if cost.run is None:
        return ["Run: none goes on"]
    if cost.run_left_s is None:
        return [f"Run: {cost.run} has not said yet how long it will take"]
    price = "" if cost.run_cost is None else f", ${cost.run_cost:.2f}"
    return [f"Run: the rest of {cost.run} takes about {duration(cost.run_left_s)}{price}"]


def _storage(facts: PodFacts) -> tuple[str | None, float | None, float | None]:
    """Return (kind, size in GB, dollars a month) of the storage that is billed while the pod is stopped."""
    if facts.network_volume_gb is not None:
        return "network volume", facts.network_volume_gb, facts.network_volume_gb * NETWORK_VOLUME
    if facts.volume_gb is not None:
        return "volume", facts.volume_gb, facts.volume_gb * VOLUME_STOPPED
    return None, None, None
