"""When the pod is to be stopped: values in, a decision out. Nothing here looks at a clock or a file."""

from dataclasses import dataclass, field, replace
from typing import Literal

from musabi.settings import Settings

Cause = Literal["max_hours", "idle", "on_finish", "on_error"]
Action = Literal["stop", "delete"]
# Five within minutes, then one every 15 minutes for about six hours (carry_out.wait_after).
ATTEMPTS = 29
KEEP_HOURS = 1.0
AFTER_RUN: tuple[Cause, ...] = ("on_finish", "on_error")
ASKED_TO_KEEP = "somebody asked to keep the pod"


@dataclass(frozen=True)
class Rules:
    """What the settings ask for. Times are in seconds; None means: no such rule."""

    lifetime_s: float | None = None
    idle_s: float | None = None
    countdown_s: float = 120.0

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        """Return the rules of MAX_HOURS, IDLE_MINUTES and STOP_COUNTDOWN."""
        return cls(
            settings.max_hours * 3600 if settings.max_hours else None,
            settings.idle_minutes * 60 if settings.idle_minutes else None,
            float(settings.stop_countdown),
        )


@dataclass(frozen=True)
class Announcement:
    """A stop that was announced. Times are Unix seconds; `pid` and `pid_started` name who counts down."""

    action: Action
    cause: Cause
    announced: float
    at: float
    why: str
    pid: int = 0
    pid_started: float | None = None


@dataclass(frozen=True)
class Keep:
    """What a person wished with `musabi pod keep`, and until when; `extra_s` puts the deadline off."""

    asked: float = 0.0
    until: float = 0.0
    extra_s: float = 0.0


@dataclass(frozen=True)
class Left:
    """What ON_FINISH or ON_ERROR asked for at the end of a run that began at `since`, while another went on."""

    action: Action
    cause: Cause
    since: float


@dataclass(frozen=True)
class Attempts:
    """How often a stop was begun for a cause, when last, and whether it was given up, with the reason."""

    count: int = 0
    last: float = 0.0
    given_up: str | None = None


@dataclass(frozen=True)
class Standing:
    """What is known about this container. `active` is when somebody or something last used it, `doing` what.

    `left` is carried out when nothing goes on any more.
    """

    started: float
    active: float
    doing: str = ""
    announcement: Announcement | None = None
    attempts: dict[str, Attempts] = field(default_factory=dict)
    left: Left | None = None


@dataclass(frozen=True)
class Nothing:
    """There is nothing to do."""


@dataclass(frozen=True)
class Announce:
    """A stop is to be announced."""

    announcement: Announcement


@dataclass(frozen=True)
class CallOff:
    """The announced stop is to be called off, for this reason."""

    reason: str


@dataclass(frozen=True)
class Carry:
    """The announced stop is due."""

    announcement: Announcement


Decision = Nothing | Announce | CallOff | Carry


def decide(rules: Rules, standing: Standing, keep: Keep, now: float, running: str | None = None) -> Decision:
    """Return what is to be done at `now`; `running` is the id of a run that goes on."""
    announced = standing.announcement
    if announced is not None:
        reason = reason_to_call_off(announced, standing, keep, now, running)
        if reason is not None:
            return CallOff(reason)
        return Carry(announced) if now >= announced.at else Nothing()
    for due in falls_due(rules, standing, keep):
        if now >= due.announced and not is_spent(due, standing, keep):
            return Announce(replace(due, announced=now, at=max(due.at, now + rules.countdown_s)))
    return Nothing()


def falls_due(rules: Rules, standing: Standing, keep: Keep) -> list[Announcement]:
    """Return the stops that the rules ask for, with the moment to announce each and its own; sooner ones first.

    Where IDLE_MINUTES is shorter than the countdown, half of it passes before a pod counts as unused.
    """
    found = []
    end = deadline(rules, standing.started, keep)
    if end is not None and rules.lifetime_s is not None:
        more = f" and {keep.extra_s / 3600:.3g} more" if keep.extra_s else ""
        why = f"its time is up (MAX_HOURS={rules.lifetime_s / 3600:.3g}{more})"
        found.append(Announcement("stop", "max_hours", end - rules.countdown_s, end, why))
    if rules.idle_s is not None:
        why = f"nobody and nothing uses it (IDLE_MINUTES={rules.idle_s / 60:.3g})"
        since = idle_since(standing, keep)
        early = since + max(rules.idle_s - rules.countdown_s, rules.idle_s / 2)
        found.append(Announcement("stop", "idle", early, since + rules.idle_s, why))
    return sorted(found, key=lambda due: due.at)


def deadline(rules: Rules, started: float, keep: Keep) -> float | None:
    """Return when MAX_HOURS ends, in Unix seconds."""
    return None if rules.lifetime_s is None else started + rules.lifetime_s + keep.extra_s


def idle_since(standing: Standing, keep: Keep) -> float:
    """Return since when nothing happened here; a wish to keep the pod counts as something that happened."""
    return max(standing.started, standing.active, keep.asked, keep.until)


def reason_to_call_off(
    announced: Announcement, standing: Standing, keep: Keep, now: float, running: str | None
) -> str | None:
    """Return why an announced stop is no longer wanted, or None."""
    after_run = announced.cause in AFTER_RUN
    if keep.asked >= announced.announced or (after_run and keeps_after_run(keep, announced.announced, now)):
        return ASKED_TO_KEEP
    if announced.cause == "idle" and idle_since(standing, keep) > announced.announced:
        return f"the pod is used again: {standing.doing}" if standing.doing else "the pod is used again"
    if after_run and running is not None:
        return f"another run was started, {running}"
    return None


def keeps_after_run(keep: Keep, since: float, now: float) -> bool:
    """Tell whether a person wants to keep the pod after a run that began at `since`.

    Who asks for it while the run goes on means its end; who gave hours means each end within them.
    """
    return keep.asked >= since or keep.until > now


def wished(rules: Rules, started: float, keep: Keep, now: float, hours: float | None) -> Keep:
    """Return the wish to keep the pod, said at `now`.

    It puts the deadline off by `hours`, counted from now where it has passed; 1 where no hours are given. With
    hours given, the idle clock stands still for as long.
    """
    end = deadline(rules, started, keep)
    passed = 0.0 if end is None else max(0.0, now - end)
    extra = 0.0 if end is None else passed + (KEEP_HOURS if hours is None else hours) * 3600
    return Keep(now, max(keep.until, now + (hours or 0.0) * 3600), keep.extra_s + extra)


def is_fresh(cause: Cause, standing: Standing, keep: Keep) -> bool:
    """Tell whether a cause is a new one since a stop was last begun for it.

    A new wish of a person, or for the idle clock a new time of use, makes it a new one.
    """
    tried = standing.attempts.get(cause)
    if tried is None:
        return True
    return tried.last < (idle_since(standing, keep) if cause == "idle" else keep.asked)


def is_spent(due: Announcement, standing: Standing, keep: Keep) -> bool:
    """Tell whether a stop for this cause was given up already: it is not begun again."""
    tried = standing.attempts.get(due.cause, Attempts())
    tried_enough = tried.given_up is not None or tried.count >= ATTEMPTS
    return tried_enough and not is_fresh(due.cause, standing, keep)
