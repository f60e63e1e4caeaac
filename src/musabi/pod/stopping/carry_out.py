"""Carrying an announced stop out: once, with a bounded number of attempts, and said loudly where it fails."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from musabi.pod.stopping.deadline import (
    AFTER_RUN,
    ASKED_TO_KEEP,
    ATTEMPTS,
    Announcement,
    is_fresh,
    reason_to_call_off,
)
from musabi.pod.stopping.provider import CONSOLE, Pod, ask_runpod
from musabi.pod.stopping.store import Store
from musabi.pod.stopping.words import DONE_WORDS, duration, tell_terminals

# After an attempt that failed. An outage of Runpod's interface or of the network lasts minutes or hours; who sleeps
# meanwhile pays for a pod that is given up too soon.
BACKOFF_SECONDS = (15.0, 30.0, 60.0, 120.0)
LATER_SECONDS = 900.0
# A pod whose stop was accepted is gone within seconds; one that still runs after this was not stopped.
SETTLE_SECONDS = 180.0
STILL_HERE = "Runpod accepted it, but the pod still runs"


@dataclass(frozen=True)
class Hands:
    """What a stop is carried out with; tests give a clock of their own."""

    pod: Pod
    store: Store
    say: Callable[[str], None]
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    terminals: Callable[[str], None] = tell_terminals

    def tell(self, text: str) -> None:
        """Say it in the log and on every terminal."""
        self.say(text)
        self.terminals(text)


def carry_out(
    hands: Hands,
    announcement: Announcement,
    prepare: Callable[[], None] = lambda: None,
    unwanted: Callable[[], str | None] = lambda: None,
) -> None:
    """Stop or delete the pod as announced. Returns where it failed for good, where a person wants to keep the
    pod or `unwanted` gives another reason, or where another process of this container does it already.

    Before each attempt `unwanted` is asked and `prepare` called: hours may lie between two. The announcement is
    cleared first, so that nothing is left that could stop the pod when it is started again.
    """
    store = hands.store
    with store.the_one_who_stops() as mine:
        if not mine:
            return
        began = hands.now()
        anew = is_fresh(announcement.cause, store.standing(), store.keep())
        anew = anew or announcement.cause in AFTER_RUN
        store.change(lambda old: replace(old, announcement=None))

        def ready() -> str | None:
            reason = _why_not(hands, began, unwanted)
            if reason is not None:
                return reason
            try:
                prepare()
            except Exception as problem:  # whatever could not be tidied up, the pod is to end
                hands.say(f"WARNING: Before the stop: {type(problem).__name__}: {problem}")
            return _why_not(hands, began, unwanted)

        _attempts(hands, announcement, ready, anew=anew)


def wait_after(count: int) -> float:
    """Return how long to wait after that many attempts, in seconds: 0 after the last."""
    if count >= ATTEMPTS:
        return 0.0
    return BACKOFF_SECONDS[count - 1] if count <= len(BACKOFF_SECONDS) else LATER_SECONDS


def why_unwanted(hands: Hands, announcement: Announcement, running: str | None) -> str | None:
    """Return why a stop that is being carried out is no longer wanted, or None."""
    store = hands.store
    return reason_to_call_off(announcement, store.standing(), store.keep(), hands.now(), running)


def _why_not(hands: Hands, began: float, unwanted: Callable[[], str | None]) -> str | None:
    """Return why the pod is not to end after all. A question that fails is no reason to keep it."""
    if hands.store.keep().asked >= began:
        return ASKED_TO_KEEP
    try:
        return unwanted()
    except Exception as problem:
        hands.say(f"WARNING: Before the stop: {type(problem).__name__}: {problem}")
        return None


def _attempts(
    hands: Hands, announcement: Announcement, ready: Callable[[], str | None], *, anew: bool
) -> None:
    """Try until the pod is gone, `ready` returns a reason to keep it, or the attempts are used up."""
    verb, store, cause = DONE_WORDS[announcement.action], hands.store, announcement.cause
    reason = "it was tried before"
    while True:
        kept = ready()
        if kept is not None:
            hands.tell(f"The pod is not {verb}: {kept}.")
            return
        count = store.note_attempt(cause, hands.now(), anew=anew)
        if count > ATTEMPTS:
            break
        anew = False
        hands.say(f"The pod is being {verb} now: {announcement.why}.")
        answer = ask_runpod(hands.pod, announcement.action)
        if answer.accepted:
            hands.say(f"Runpod accepted it ({answer.way}). The pod ends in a moment.")
            hands.sleep(SETTLE_SECONDS)
        reason = STILL_HERE if answer.accepted else answer.message.rstrip(".")
        wait = wait_after(count)
        again = f" It is tried again in {duration(wait)}." if wait else ""
        hands.tell(f"WARNING: The pod could not be {verb} and is still billed. {reason}.{again}")
        if not wait:
            break
        hands.sleep(wait)
    store.give_up(cause, hands.now(), reason)
    hands.tell(
        f"WARNING: THE POD STILL RUNS AND IS STILL BILLED. It could not be {verb}, and it is not tried again. "
        f"{reason}. Stop it by hand at {CONSOLE}"
    )
