"""How the stopping of the pod stands, as a value and in words: what is planned, announced, given up."""

import time
from typing import Any

from musabi.pod.stopping.deadline import Cause, Rules, deadline, idle_since
from musabi.pod.stopping.provider import NOT_A_POD
from musabi.pod.stopping.store import Store, pod_places
from musabi.pod.stopping.words import SETTINGS, announcement_words, duration
from musabi.settings import Settings

WATCHED: tuple[tuple[Cause, str], ...] = (("max_hours", "deadline"), ("idle", "idle_stop"))
MEND = "Start it with: musabi pod guard"


def stopping_status(
    settings: Settings, *, store: Store | None = None, now: float | None = None
) -> dict[str, Any]:
    """Return what is known about the end of this pod. Times are Unix seconds, absent things None.

    `guarded` tells whether a guard runs. `announced` holds action, cause, why, announced, at and `words`;
    `given_up` holds a reason for each cause.
    """
    store = Store(pod_places(settings)) if store is None else store
    now = time.time() if now is None else now
    rules, standing, keep = Rules.of(settings), store.standing(), store.keep()
    idle = None if rules.idle_s is None else idle_since(standing, keep)
    announced = standing.announcement
    return {
        "pod": settings.runpod_pod_id,
        "started": standing.started,
        "guarded": store.is_watched(),
        "deadline": deadline(rules, standing.started, keep),
        "idle_since": idle,
        "last_use": standing.doing or None,
        "idle_stop": None if idle is None or rules.idle_s is None else idle + rules.idle_s,
        "on_finish": settings.on_finish,
        "on_error": settings.on_error,
        "announced": None
        if announced is None
        else {
            "action": announced.action,
            "cause": announced.cause,
            "why": announced.why,
            "announced": announced.announced,
            "at": announced.at,
            "words": announcement_words(announced, now),
        },
        "given_up": {cause: tried.given_up for cause, tried in standing.attempts.items() if tried.given_up},
    }


def status_words(values: dict[str, Any], now: float) -> list[str]:
    """Return the status in lines."""
    lines = [f"Pod {values['pod']}" if values["pod"] else NOT_A_POD]
    lines.append(f"The container is up for {duration(now - values['started'])}")
    lines += loud_words(values)
    if values["deadline"] is not None:
        left = values["deadline"] - now
        lines.append(f"MAX_HOURS: {duration(left)} left" if left > 0 else "MAX_HOURS: the time is up")
    if values["idle_since"] is not None:
        idle = now - values["idle_since"]
        last = f" (last use: {values['last_use']})" if values["last_use"] else ""
        stop = duration(values["idle_stop"] - now)
        lines.append(f"IDLE_MINUTES: unused for {duration(idle)}{last}, stops in {stop} unless it is used")
    lines += [f"{name.upper()}: {values[name]}" for name in ("on_finish", "on_error")]
    return lines


def loud_words(values: dict[str, Any]) -> list[str]:
    """Return what nobody should miss: an announced stop, a stop that was given up."""
    lines = [values["announced"]["words"]] if values["announced"] else []
    rules = [SETTINGS[cause] for cause, name in WATCHED if values[name] is not None]
    if values["pod"] and rules and not values["guarded"]:
        lines.append(f"WARNING: No guard runs, so the pod is not stopped by {' or '.join(rules)}. {MEND}")
    causes: dict[Cause, str] = values["given_up"]
    return lines + [
        f"WARNING: The stop for {SETTINGS[cause]} failed and is not tried again. The pod is still billed. {reason}."
        for cause, reason in causes.items()
    ]
