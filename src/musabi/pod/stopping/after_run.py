"""ON_FINISH and ON_ERROR: what happens to the pod when a run has ended."""

import contextlib
import os
import signal
from collections.abc import Callable, Mapping
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
    Left,
    Rules,
    decide,
    keeps_after_run,
)
from musabi.pod.stopping.provider import NO_WAY, NOT_A_POD, this_pod
from musabi.pod.stopping.run_here import run_at_its_end, softened, work_beside_the_queue, work_going_on
from musabi.pod.stopping.store import Store, is_mine, is_orphan, pod_places
from musabi.pod.stopping.words import (
    DONE_WORDS,
    SETTINGS,
    WHY,
    announcement_words,
    reminder_due,
)
from musabi.settings import PodAction, Settings
from musabi.workspace import Workspace

TICK_SECONDS = 1.0


def finish(
    settings: Settings,
    environ: Mapping[str, str],
    outcome: Literal["done", "failed"],
    say: Callable[[str], None],
    *,
    since: float | None = None,
    hands: Hands | None = None,
    of_queue: bool = False,
) -> None:
    """Do with the pod what ON_FINISH or ON_ERROR asks for, after a countdown that `musabi pod keep` ends.

    Where another run goes on, that is left to the end of the last one: so where nothing is asked for here, what
    an earlier end left is done. `of_queue`: this process carries the queue out, and is through with it.
    `since` is when the run began (Unix seconds): who asked to keep the pod from then on meant its end.
    Called in a run's own process, after its results were published. SIGTERM ends that process from here on:
    the run has nothing left to save. Never raises: a pod that can't be stopped is said, not a failed run.
    """
    cause: Cause = "on_finish" if outcome == "done" else "on_error"
    action = settings.on_finish if outcome == "done" else settings.on_error
    if action == "none" and not settings.runpod_pod_id:
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
        wanted = _wanted(hands, action, cause, since)
        if wanted is None:
            return
        if not hands.pod.can_be_stopped:
            say(f"WARNING: {SETTINGS[wanted.cause]}={wanted.action} can't be done. {NO_WAY}")
            return
        _count_down(hands, Rules.of(settings), wanted, _Beside(settings.space, of_queue))
    except Exception as problem:
        reason = scrub(f"{type(problem).__name__}: {problem}", secrets(environ))
        say(f"WARNING: {SETTINGS[cause]}={action} was not done: {reason}.")


def ended_by_hand(settings: Settings, *, of_queue: bool = False) -> None:
    """See to the end of a run that a person stopped: where it was the last one, what others left is not done."""
    if not settings.runpod_pod_id:
        return
    with contextlib.suppress(Exception):
        store = Store(pod_places(settings))
        if store.standing().left is not None and _Beside(settings.space, of_queue).work() is None:
            store.leave(None)


class _Beside:
    """Looks at what goes on beside this process. A volume that hangs does not keep the pod."""

    def __init__(self, space: Workspace, of_queue: bool) -> None:
        self._space, self._of_queue, self._aside = space, of_queue, Aside()

    def work(self) -> str | None:
        """Return what goes on. This run's own record may still say that it runs, where a full disk kept its end out."""
        if self._of_queue:
            return self._ask(work_beside_the_queue)
        return self._ask(partial(work_going_on, besides=os.getpid()))

    def publishing(self) -> str | None:
        """Return a run that has ended and still publishes."""
        return self._ask(partial(run_at_its_end, besides=os.getpid()))

    def softened(self, announcement: Announcement, say: Callable[[str], None]) -> Announcement:
        """Return a deletion as a stop where something was not published; see run_here."""
        return softened(announcement, self._space, self._aside, say)

    def _ask(self, question: Callable[[Workspace], str | None]) -> str | None:
        try:
            return self._aside.do("the runs", lambda: question(self._space))
        except TimeoutError:
            return None


def _wanted(hands: Hands, action: PodAction, cause: Cause, since: float | None) -> Left | None:
    """Return what this end asks for, or else what an earlier one left."""
    if action == "none":
        return hands.store.standing().left
    began = hands.now()
    return Left(action, cause, began if since is None else min(since, began))


def _count_down(hands: Hands, rules: Rules, wanted: Left, beside: _Beside) -> None:
    """Announce the stop, wait for it or for what calls it off, and carry it out."""
    store = hands.store
    announced: Announcement | None = None
    earlier = hands.now()
    while True:
        now = hands.now()
        standing, keep = store.standing(), store.keep()
        mine = standing.announcement if standing.announcement and is_mine(standing.announcement) else None
        if announced is None:
            if keeps_after_run(keep, wanted.since, now):
                store.leave(None)
                hands.tell(f"The pod is not {DONE_WORDS[wanted.action]}: {ASKED_TO_KEEP}.")
                return
            if going_on := beside.work():
                store.leave(wanted)
                if beside.work() is None:  # it ended meanwhile, and may not have seen what was left
                    continue
                hands.say(f"The pod is not {DONE_WORDS[wanted.action]} yet: {going_on} goes on.")
                return
            if beside.publishing():
                hands.sleep(TICK_SECONDS)
                continue
            announced = _announce(hands, rules, wanted, beside, now)
        elif mine is None:
            return  # called off, or taken over
        else:
            other = beside.work()
            decision = decide(rules, standing, keep, now, other)
            if isinstance(decision, CallOff):
                _call_off(hands, mine, decision, wanted if other else None)
                return
            if isinstance(decision, Carry):
                mine = beside.softened(mine, hands.tell)
                carry_out(hands, mine, unwanted=partial(_unwanted, hands, mine, beside))
                return
            if reminder_due(mine, earlier, now):
                hands.tell(announcement_words(mine, now))
        earlier = now
        hands.sleep(TICK_SECONDS)


def _call_off(hands: Hands, mine: Announcement, off: CallOff, wanted: Left | None) -> None:
    """Withdraw the announcement; where another run is the reason, it is left to that one's end."""
    hands.store.call_off(mine)
    if off.reason != ASKED_TO_KEEP:
        hands.store.leave(wanted)
    hands.tell(f"The pod is not {DONE_WORDS[mine.action]}: {off.reason}.")


def _unwanted(hands: Hands, due: Announcement, beside: _Beside) -> str | None:
    return why_unwanted(hands, due, beside.work())


def _announce(hands: Hands, rules: Rules, wanted: Left, beside: _Beside, now: float) -> Announcement | None:
    """Announce the stop, or return None where another one stands: it goes first."""
    due = Announcement(wanted.action, wanted.cause, now, now + rules.countdown_s, WHY[wanted.cause])
    if not is_orphan(hands.store.standing().announcement):
        return None
    due = beside.softened(due, hands.say)
    if not hands.store.announce(due):
        return None
    hands.store.leave(None)
    hands.tell(announcement_words(due, now))
    return due
