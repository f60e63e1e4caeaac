"""Carrying an announced stop out: once, with a bounded number of attempts, and said loudly where it fails."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from musabi.pod.stopping.deadline import ATTEMPTS, Announcement, is_fresh
from musabi.pod.stopping.provider import CONSOLE, Pod, ask_runpod
from musabi.pod.stopping.store import Store
from musabi.pod.stopping.words import DONE_WORDS, duration, tell_terminals

# After an attempt that failed: with five attempts some four minutes in all.
BACKOFF_SECONDS = (15.0, 30.0, 60.0, 120.0)
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


def carry_out(hands: Hands, announcement: Announcement, prepare: Callable[[], None] = lambda: None) -> None:
    """Stop or delete the pod as announced, after `prepare`. Returns where it failed for good, where a person
    wants to keep the pod, or where another process of this container does it already.

    The announcement is cleared first, so that nothing is left that could stop the pod when it is started again.
    """
    store = hands.store
    with store.the_one_who_stops() as mine:
        if not mine:
            return
        began = hands.now()
        anew = is_fresh(announcement.cause, store.standing(), store.keep())
        anew = anew or announcement.cause in ("on_finish", "on_error")
        store.change(lambda old: replace(old, announcement=None))
        try:
            prepare()
        except Exception as problem:  # whatever could not be tidied up, the pod is to end
            hands.say(f"WARNING: Before the stop: {type(problem).__name__}: {problem}")
        _attempts(hands, announcement, began, anew=anew)


def _attempts(hands: Hands, announcement: Announcement, began: float, *, anew: bool) -> None:
    """Try until the pod is gone, somebody wants to keep it, or the attempts are used up."""
    verb, store, cause = DONE_WORDS[announcement.action], hands.store, announcement.cause
    reason = "it was tried before"
    while True:
        if store.keep().asked >= began:
            hands.say(f"The pod is kept: somebody asked for it. It is not {verb}.")
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
        wait = BACKOFF_SECONDS[count - 1] if count < ATTEMPTS else 0.0
        again = f" It is tried again in {duration(wait)}." if wait else ""
        hands.say(f"WARNING: The pod could not be {verb} and is still billed. {reason}.{again}")
        hands.sleep(wait)
    store.give_up(cause, hands.now(), reason)
    hands.tell(
        f"WARNING: THE POD STILL RUNS AND IS STILL BILLED. It could not be {verb}, and it is not tried again. "
        f"{reason}. Stop it by hand at {CONSOLE}"
    )
