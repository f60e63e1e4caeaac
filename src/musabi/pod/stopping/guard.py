"""`musabi pod guard`: the service that ends a pod which has run for too long, or which nobody uses."""

import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from musabi.children import scrub, secrets
from musabi.errors import RequestError
from musabi.job.launch import ask_to_stop
from musabi.job.record import RunFolder
from musabi.pod.aside import Aside
from musabi.pod.stopping.activity import Activity, Use
from musabi.pod.stopping.carry_out import Hands, carry_out, why_unwanted
from musabi.pod.stopping.deadline import (
    AFTER_RUN,
    ASKED_TO_KEEP,
    Announce,
    Announcement,
    CallOff,
    Carry,
    Keep,
    Left,
    Rules,
    Standing,
    deadline,
    decide,
    keeps_after_run,
)
from musabi.pod.stopping.provider import NO_WAY, this_pod
from musabi.pod.stopping.run_here import (
    end_run,
    ending_folder,
    running_folders,
    softened,
    work_going_on,
)
from musabi.pod.stopping.store import Store, is_mine, is_orphan, pod_places
from musabi.pod.stopping.words import DONE_WORDS, WHY, announcement_words, duration, reminder_due
from musabi.settings import Settings

TICK_SECONDS = 3.0
LOOK_SECONDS = 15.0
# guard.json is written for the idle clock's sake only when it moved by this much.
WRITE_SECONDS = 30.0
PUBLISH_SECONDS = 1800.0


@dataclass
class Guard:
    """The guard's state between two ticks; all that must outlive it is in the store."""

    hands: Hands
    rules: Rules
    settings: Settings
    look: Callable[[], Use | None]
    before_stop: Callable[[RunFolder | None], None] = lambda _run: None
    aside: Aside = field(default_factory=Aside)
    _next_look: float = 0.0
    _next_left: float = 0.0
    _earlier: float = field(default=float("inf"))

    def tick(self) -> None:
        """Look, decide, and do what is due."""
        now = self.hands.now()
        standing = self._standing(now)
        announced = standing.announcement
        if announced is not None and not is_mine(announced):
            if not is_orphan(announced):
                return  # the end of a run counts down itself
            announced = self.hands.store.adopt(announced)
            standing = replace(standing, announcement=announced)
        if announced is None and standing.left is not None:
            self._take_up(standing.left, now)
            standing = self.hands.store.standing()
        self._act(standing, now)
        self._earlier = now

    def _act(self, standing: Standing, now: float) -> None:
        store, announced = self.hands.store, standing.announcement
        running = self._running(announced) if announced is not None else None
        decision = decide(self.rules, standing, store.keep(), now, running)
        if isinstance(decision, Announce) and store.announce(decision.announcement):
            self.hands.tell(announcement_words(decision.announcement, now))
        elif isinstance(decision, CallOff) and announced is not None:
            store.call_off(announced)
            if running is not None and decision.reason != ASKED_TO_KEEP:
                store.leave(Left(announced.action, announced.cause, announced.announced))
            self.hands.tell(f"The pod is not {DONE_WORDS[announced.action]}: {decision.reason}.")
        elif isinstance(decision, Carry):
            due = softened(decision.announcement, self.settings.space, self.aside, self.hands.tell)
            carry_out(self.hands, due, self._prepare, lambda: self._unwanted(due))
        elif announced is not None and reminder_due(announced, self._earlier, now):
            self.hands.tell(announcement_words(announced, now))

    def _take_up(self, left: Left, now: float) -> None:
        """Announce what a run's end asked for while another went on, once nothing goes on or ends any more."""
        if now < self._next_left:
            return
        self._next_left = now + LOOK_SECONDS
        store, space = self.hands.store, self.settings.space
        if keeps_after_run(store.keep(), left.since, now):
            store.leave(None)
            self.hands.tell(f"The pod is not {DONE_WORDS[left.action]}: {ASKED_TO_KEEP}.")
            return
        try:  # a run's process that still works decides itself
            if self.aside.do("the runs", lambda: work_going_on(space) or ending_folder(space)):
                return
        except TimeoutError:
            return
        at = now + self.rules.countdown_s
        asked_for = Announcement(left.action, left.cause, now, at, WHY[left.cause])
        due = softened(asked_for, space, self.aside, self.hands.tell)
        if store.announce(due):
            store.leave(None)
            self.hands.tell(announcement_words(due, now))

    def _running(self, announced: Announcement) -> str | None:
        """Return the run or queue that goes on, where it matters. A volume that hangs does not keep the pod."""
        if announced.cause not in AFTER_RUN:
            return None
        try:
            return self.aside.do("the runs", lambda: work_going_on(self.settings.space))
        except TimeoutError:
            return None

    def _unwanted(self, due: Announcement) -> str | None:
        self._standing(self.hands.now())
        return why_unwanted(self.hands, due, self._running(due))

    def _standing(self, now: float) -> Standing:
        """Return what is known, after a look at the pod where one is due."""
        store = self.hands.store
        standing = store.standing()
        if self.rules.idle_s is None or now < self._next_look:
            return standing
        self._next_look = now + LOOK_SECONDS
        use = self.look()
        if use is None or use.last <= standing.active:
            return standing
        seen = replace(standing, active=use.last, doing=use.doing)
        if standing.announcement is None and use.last - standing.active < WRITE_SECONDS:
            return seen
        return store.change(lambda old: replace(old, active=max(old.active, use.last), doing=use.doing))

    def _prepare(self) -> None:
        """End the runs that go on, and let results be published, for a bounded time.

        Raises:
            TimeoutError: the volume does not answer, so there is nothing that could be ended or published.
        """
        folders = self.aside.do("the runs", lambda: running_folders(self.settings.space))
        for folder in folders[1:]:  # they save at the same time
            self.aside.do("asking the run to stop", partial(ask_to_stop, folder))
        for folder in folders:
            end_run(folder, self.hands.say, self.hands.sleep, aside=self.aside)
        publishing = threading.Thread(target=self._publish, args=(folders,), daemon=True)
        publishing.start()
        publishing.join(PUBLISH_SECONDS)
        if publishing.is_alive():
            self.hands.say("WARNING: Publishing takes too long. The pod ends without it.")

    def _publish(self, folders: list[RunFolder]) -> None:
        for folder in folders or (None,):
            try:
                self.before_stop(folder)
            except Exception as problem:
                self.hands.say(f"WARNING: The results were not published: {problem}")


def guard(
    settings: Settings,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    *,
    before_stop: Callable[[RunFolder | None], None] = lambda _run: None,
) -> None:
    """Watch over the pod until SIGTERM or SIGINT.

    `before_stop` is called before each attempt to stop, with each run that was ended for it, or with None.

    Raises:
        RequestError: this is no pod of Runpod's, or another guard watches over it.
    """
    hidden = secrets(environ)
    store = Store(pod_places(settings))
    pod = this_pod(settings, environ)
    hands = Hands(pod, store, lambda text: say(scrub(text, hidden)))
    rules = Rules.of(settings)
    activity = Activity(settings)
    watching = Guard(hands, rules, settings, activity.look, before_stop)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    hands.say(first_words(rules, store.standing().started, store.keep(), hands.now()))
    if not pod.can_be_stopped:
        hands.say(f"WARNING: {NO_WAY}")
    with store.the_one_who_watches() as mine:
        if not mine:
            raise RequestError("A guard watches over this pod already. See: musabi pod status")
        _watch(watching, activity)


def _watch(watching: Guard, activity: Activity) -> None:
    """Tick for ever."""
    told: set[str] = set()
    while True:
        try:
            watching.tick()
        except Exception as problem:  # a full disk or a broken record must not end the watch
            activity.troubles.add(f"{type(problem).__name__}: {problem}")
        for trouble in sorted(activity.troubles - told):
            watching.hands.say(f"WARNING: The guard goes on, but met a problem. {trouble}")
        told |= activity.troubles
        watching.hands.sleep(TICK_SECONDS)


def first_words(rules: Rules, started: float, keep: Keep, now: float) -> str:
    """Return what the guard watches for."""
    end = deadline(rules, started, keep)
    said = []
    if end is not None:
        said.append(f"in {duration(end - now)} at the latest (MAX_HOURS)")
    if rules.idle_s is not None:
        said.append(f"after {duration(rules.idle_s)} without use (IDLE_MINUTES)")
    if not said:
        return (
            "The guard keeps the countdown of ON_FINISH and ON_ERROR. It stops the pod for no other reason."
        )
    return (
        f"The pod will be stopped {' or '.join(said)}. It is announced {duration(rules.countdown_s)} before."
    )
