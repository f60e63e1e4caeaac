"""ON_FINISH and ON_ERROR: what happens to the pod when a run has ended."""

import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal

from musabi.children import scrub, secrets
from musabi.pod.aside import Aside
from musabi.pod.stopping.carry_out import Hands, carry_out, why_unwanted
from musabi.pod.stopping.deadline import (
    ASKED_TO_KEEP,
    Announcement,
    CallOff,
    Carry,
    Cause,
    Rules,
    decide,
    keeps_after_run,
)
from musabi.pod.stopping.provider import NO_WAY, NOT_A_POD, this_pod
from musabi.pod.stopping.run_here import run_at_its_end, work_going_on
from musabi.pod.stopping.store import Store, is_mine, pod_places
from musabi.pod.stopping.words import (
    DONE_WORDS,
    SETTINGS,
    announcement_words,
    reminder_due,
)
from musabi.settings import Settings
from musabi.workspace import Workspace

TICK_SECONDS = 1.0
WHY: dict[Cause, str] = {"on_finish": "the run is done (ON_FINISH)", "on_error": "the run failed (ON_ERROR)"}


def finish(
    settings: Settings,
    environ: Mapping[str, str],
    outcome: Literal["done", "failed"],
    say: Callable[[str], None],
    *,
    since: float | None = None,
    hands: Hands | None = None,
) -> None:
    """Do with the pod what ON_FINISH or ON_ERROR asks for, after a countdown that `musabi pod keep` ends.

    `since` is when the run began (Unix seconds): who asked to keep the pod from then on meant its end.
    Called in a run's own process, after its results were published. SIGTERM ends that process from here on:
    the run has nothing left to save. Never raises: a pod that can't be stopped is said, not a failed run.
    """
    cause: Cause = "on_finish" if outcome == "done" else "on_error"
    action = settings.on_finish if outcome == "done" else settings.on_error
    if action == "none":
        return
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        if not settings.runpod_pod_id:
            say(f"{SETTINGS[cause]}={action} does nothing here. {NOT_A_POD}")
            return
        if hands is None:
            store = Store(pod_places(settings))
            hands = Hands(this_pod(settings, environ), store, say)
        if not hands.pod.can_be_stopped:
            say(f"WARNING: {SETTINGS[cause]}={action} can't be done. {NO_WAY}")
            return
        announcement = Announcement(action, cause, 0.0, 0.0, WHY[cause])
        _count_down(hands, Rules.of(settings), announcement, settings.space, since)
    except Exception as problem:
        reason = scrub(f"{type(problem).__name__}: {problem}", secrets(environ))
        say(f"WARNING: {SETTINGS[cause]}={action} was not done: {reason}.")


def _count_down(
    hands: Hands, rules: Rules, wanted: Announcement, space: Workspace, since: float | None
) -> None:
    """Announce the stop, wait for it or for what calls it off, and carry it out."""
    store, began, aside = hands.store, hands.now(), Aside()
    since = began if since is None else min(since, began)

    def other_run() -> str | None:
        """This run's own record may still say that it runs, where a full disk kept its end out of it."""
        try:
            return aside.do("the runs", lambda: work_going_on(space, besides=os.getpid()))
        except TimeoutError:
            return None

    def still_publishing() -> str | None:
        try:
            return aside.do("the runs", lambda: run_at_its_end(space, besides=os.getpid()))
        except TimeoutError:
            return None

    announced: Announcement | None = None
    earlier = began
    while True:
        now = hands.now()
        standing, keep = store.standing(), store.keep()
        mine = standing.announcement if standing.announcement and is_mine(standing.announcement) else None
        if announced is None:
            if keeps_after_run(keep, since, now):
                hands.tell(f"The pod is not {DONE_WORDS[wanted.action]}: {ASKED_TO_KEEP}.")
                return
            if going_on := other_run():  # each asks at its own end, so the last one finds nobody
                hands.say(f"The pod is not {DONE_WORDS[wanted.action]} yet: {going_on} goes on.")
                return
            if still_publishing():
                hands.sleep(TICK_SECONDS)
                continue
            announced = _announce(hands, rules, wanted, now)
        elif mine is None:
            return  # called off, or taken over
        else:
            decision = decide(rules, standing, keep, now, other_run())
            if isinstance(decision, CallOff):
                store.call_off(mine)
                hands.tell(f"The pod is not {DONE_WORDS[mine.action]}: {decision.reason}.")
                return
            if isinstance(decision, Carry):
                carry_out(hands, mine, unwanted=partial(_unwanted, hands, mine, other_run))
                return
            if reminder_due(mine, earlier, now):
                hands.tell(announcement_words(mine, now))
        earlier = now
        hands.sleep(TICK_SECONDS)


def _unwanted(hands: Hands, due: Announcement, other_run: Callable[[], str | None]) -> str | None:
    return why_unwanted(hands, due, other_run())


def _announce(hands: Hands, rules: Rules, wanted: Announcement, now: float) -> Announcement | None:
    """Announce the stop, or return None where another one stands: it goes first."""
    due = replace(wanted, announced=now, at=now + rules.countdown_s)
    if not hands.store.announce(due):
        return None
    hands.tell(announcement_words(due, now))
    return due
