"""`musabi pod keep`: a person wants the pod to stay."""

import time
from typing import Any

from musabi.pod.stopping.deadline import AFTER_RUN, Keep, Rules, deadline, wished
from musabi.pod.stopping.store import Store, is_orphan, pod_places
from musabi.pod.stopping.words import DONE_WORDS, SETTINGS, duration
from musabi.settings import Settings


def keep(
    settings: Settings, hours: float | None, *, store: Store | None = None, now: float | None = None
) -> dict[str, Any]:
    """Write the wish down; who counts down reads it and calls the stop off. Return what it changed.

    `until` is the end of the hours asked for, `on_finish` and `on_error` what those ask for at a run's end.
    `called_off` is the announced stop as it was, `deadline` the end of MAX_HOURS by now, `idle_from` when the
    clock of IDLE_MINUTES starts; times in Unix seconds, absent things None.
    """
    store = Store(pod_places(settings)) if store is None else store
    now = time.time() if now is None else now
    rules, standing = Rules.of(settings), store.standing()
    announced = standing.announcement

    def wish(old: Keep) -> Keep:
        return wished(rules, standing.started, old, now, hours)

    new = store.wish(wish)
    if announced is not None and is_orphan(announced):  # nobody is left who would withdraw it
        store.call_off(announced)
    return {
        "called_off": None
        if announced is None
        else {"action": announced.action, "cause": announced.cause, "at": announced.at},
        "now": now,
        "until": new.until,
        "on_finish": settings.on_finish,
        "on_error": settings.on_error,
        "deadline": deadline(rules, standing.started, new),
        "idle_from": None if rules.idle_s is None else max(new.asked, new.until),
        "idle_s": rules.idle_s,
    }


def keep_words(kept: dict[str, Any]) -> list[str]:
    """Return what the wish changed, in lines."""
    lines = []
    if kept["called_off"]:
        off = kept["called_off"]
        lines.append(f"The pod is kept: it is not {DONE_WORDS[off['action']]} for {SETTINGS[off['cause']]}.")
    if kept["deadline"] is not None:
        lines.append(f"MAX_HOURS: it may run for {duration(kept['deadline'] - kept['now'])} from now.")
    if kept["idle_from"] is not None:
        left = kept["idle_from"] + kept["idle_s"] - kept["now"]
        lines.append(f"IDLE_MINUTES: unused, it is stopped in {duration(left)} at the soonest.")
    hours = kept["until"] - kept["now"]
    ends = "the run that goes on now" + (f" or any that ends within {duration(hours)}" if hours >= 1 else "")
    for name in AFTER_RUN:
        if kept[name] != "none":
            lines.append(f"{SETTINGS[name]}: the pod is not {DONE_WORDS[kept[name]]} at the end of {ends}.")
    return lines or [
        "No stop is announced, and none of MAX_HOURS, IDLE_MINUTES, ON_FINISH and ON_ERROR is set here. "
        f"The pod stays at the end of {ends}."
    ]
