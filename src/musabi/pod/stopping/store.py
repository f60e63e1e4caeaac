"""guard.json, keep.json and the locks beside them: what the guard, a run's end and the commands share.

guard.json, as others read it: `container`, `started`, `active` and `doing` (the idle clock), `attempts`, `left`
(what a run's end asked for while another went on), and while a stop is announced `action`, `cause`, `why`,
`announced` and `at` (Unix seconds). It is believed only in the container that wrote it, so that a pod that is
started again is not stopped at once.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import IO, Any

from pydantic import TypeAdapter, ValidationError

from musabi.job.record import own_process, process_start
from musabi.pod.places import PodPlaces
from musabi.pod.state_dir import chosen_places
from musabi.pod.stopping.container import container_mark, container_started
from musabi.pod.stopping.deadline import Announcement, Attempts, Keep, Left, Standing
from musabi.settings import Settings
from musabi.whole import read_json, write_json

ANNOUNCEMENT = ("action", "cause", "announced", "at", "why", "pid", "pid_started")
WATCH_TRIES = 10
WATCH_SECONDS = 0.1
_standing: TypeAdapter[Standing] = TypeAdapter(Standing)
_keep: TypeAdapter[Keep] = TypeAdapter(Keep)


class Store:
    """The files of one container. `mark` and `started` are this container's, where not given."""

    def __init__(self, places: PodPlaces, *, mark: str | None = None, started: float | None = None) -> None:
        self.places = places
        self._unwritten: Standing | None = None
        self.mark = container_mark() if mark is None else mark
        self.started = container_started() if started is None else started

    def standing(self) -> Standing:
        """Return what is known of this container; of another container's file nothing is believed."""
        if self._unwritten is not None:
            return self._unwritten
        fresh = Standing(started=self.started, active=self.started)
        values = self._own(read_json(self.places.guard))
        if values is None:
            return fresh
        announced = {name: values[name] for name in ANNOUNCEMENT if name in values}
        values["announcement"] = announced if "at" in announced else None
        try:
            return _standing.validate_python(
                {name: values[name] for name in Standing.__dataclass_fields__ if name in values}
            )
        except ValidationError:
            return fresh

    def keep(self) -> Keep:
        """Return what a person last wished in this container."""
        values = self._own(read_json(self.places.keep)) or {}
        try:
            return _keep.validate_python(
                {name: values[name] for name in Keep.__dataclass_fields__ if name in values}
            )
        except ValidationError:
            return Keep()

    def change(self, how: Callable[[Standing], Standing]) -> Standing:
        """Change what is known, one process at a time; return it as it is now."""
        with self._locked():
            old = self.standing()
            new = how(old)
            if new != old or not self.places.guard.exists():
                self._write(new)
        return new

    def announce(self, announcement: Announcement) -> bool:
        """Announce a stop in this process's name, unless another one stands. Tell whether it was announced."""
        pid, pid_started = own_process()
        mine = replace(announcement, pid=pid, pid_started=pid_started)
        new = self.change(lambda old: replace(old, announcement=mine) if is_orphan(old.announcement) else old)
        return new.announcement == mine

    def call_off(self, announcement: Announcement) -> None:
        """Withdraw that announcement; another one stays."""
        self.change(lambda old: replace(old, announcement=None) if old.announcement == announcement else old)

    def adopt(self, announcement: Announcement) -> Announcement:
        """Count down in this process's name what a process that is gone announced."""
        pid, pid_started = own_process()
        mine = replace(announcement, pid=pid, pid_started=pid_started)
        self.change(lambda old: replace(old, announcement=mine) if old.announcement == announcement else old)
        return mine

    def note_attempt(self, cause: str, now: float, *, anew: bool = False) -> int:
        """Note that a stop is begun for this cause; `anew` forgets earlier ones. Return how often by now."""

        def noted(old: Standing) -> Standing:
            before = Attempts() if anew else old.attempts.get(cause, Attempts())
            return replace(old, attempts=old.attempts | {cause: Attempts(before.count + 1, now)})

        return self.change(noted).attempts[cause].count

    def give_up(self, cause: str, now: float, reason: str) -> None:
        """Note that no stop is begun any more for this cause, and why the last one failed."""

        def noted(old: Standing) -> Standing:
            before = old.attempts.get(cause, Attempts())
            given_up = Attempts(before.count, now, reason)
            return replace(old, attempts=old.attempts | {cause: given_up})

        self.change(noted)

    def leave(self, left: Left | None) -> None:
        """Note what is to be carried out when nothing goes on any more; None: nothing is."""
        self.change(lambda old: replace(old, left=left))

    def wish(self, how: Callable[[Keep], Keep]) -> Keep:
        """Change what a person wishes, one process at a time; return it as it is now."""
        with self._locked():
            new = how(self.keep())
            write_json(self.places.keep, {"container": self.mark} | asdict(new), 0o600)
        return new

    @contextmanager
    def the_one_who_stops(self) -> Iterator[bool]:
        """Hold the right to stop the pod; yields False where another process of this container holds it."""
        with self._held("stop.lock") as mine:
            yield mine

    @contextmanager
    def the_one_who_watches(self) -> Iterator[bool]:
        """Be the guard; yields False where another process of this container is.

        `is_watched` holds the same lock for a moment, so one that is held is tried again for a while.
        """
        for left in range(WATCH_TRIES, -1, -1):
            with self._held("watch.lock") as mine:
                if mine or not left:
                    yield mine
                    return
            time.sleep(WATCH_SECONDS)

    def is_watched(self) -> bool:
        """Tell whether a guard runs."""
        if not (self.places.root / "watch.lock").exists():
            return False
        with self._held("watch.lock") as free:
            return not free

    @contextmanager
    def _held(self, name: str) -> Iterator[bool]:
        """Hold a lock if nobody does; the kernel drops it with its holder."""
        with self._lock_file(name) as file:
            try:
                if file is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def _own(self, values: Any) -> dict[str, Any] | None:  # noqa: ANN401 - any JSON value
        return values if isinstance(values, dict) and values.get("container") == self.mark else None

    def _write(self, standing: Standing) -> None:
        values = asdict(standing)
        announced = values.pop("announcement") or {}
        try:
            write_json(self.places.guard, {"container": self.mark} | values | announced, 0o600)
            self._unwritten = None
        except OSError:  # a full disk must not keep a pod running: this process goes on from memory
            self._unwritten = standing

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock_file("guard.lock") as file:
            if file is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _lock_file(self, name: str) -> Iterator[IO[str] | None]:
        """Yield an open file to lock, or None where the disk has no room for one."""
        try:
            self.places.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = (self.places.root / name).open("w")
        except OSError:
            yield None
            return
        with file:
            yield file


def pod_places(settings: Settings) -> PodPlaces:
    """Return where this container's boot put the pod's files: in memory where its disk could not be written."""
    return chosen_places(settings.musabi_state_dir)


def is_orphan(announcement: Announcement | None) -> bool:
    """Tell whether nobody counts this announcement down: there is none, or who announced it is gone."""
    return announcement is None or process_start(announcement.pid) != announcement.pid_started


def is_mine(announcement: Announcement) -> bool:
    """Tell whether this process counts it down."""
    return announcement.pid == os.getpid() and not is_orphan(announcement)
