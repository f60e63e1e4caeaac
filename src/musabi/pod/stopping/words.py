"""What is said about a stop, and where: the log, and every terminal that is open."""

import os
import time
from pathlib import Path

from musabi.pod.stopping.deadline import Announcement, Cause

KEEP = "Keep it with: musabi pod keep"
LOST = "Everything that is not on a network volume is lost with it. "
DONE_WORDS = {"stop": "stopped", "delete": "deleted"}
SETTINGS: dict[Cause, str] = {
    "max_hours": "MAX_HOURS",
    "idle": "IDLE_MINUTES",
    "on_finish": "ON_FINISH",
    "on_error": "ON_ERROR",
}
WHY: dict[Cause, str] = {"on_finish": "the run is done (ON_FINISH)", "on_error": "the run failed (ON_ERROR)"}
# A reminder is said when so many seconds are left.
REMINDERS = (60.0, 10.0)
PTS = Path("/dev/pts")


def announcement_words(announcement: Announcement, now: float) -> str:
    """Return an announced stop in a sentence, with what calls it off."""
    verb = DONE_WORDS[announcement.action]
    left = max(0.0, announcement.at - now)
    when = time.strftime("%H:%M:%S %Z", time.localtime(announcement.at))
    lost = LOST if announcement.action == "delete" else ""
    return f"This pod will be {verb} in {duration(left)} ({when}): {announcement.why}. {lost}{KEEP}"


def duration(seconds: float) -> str:
    """Return a time span as a person says it: 45 s, 3 min, 2 h 5 min, 3 days 4 h."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h" if hours else f"{days} days"


def reminder_due(announcement: Announcement, earlier: float, now: float) -> bool:
    """Tell whether a reminder's moment lies between two looks at the clock."""
    return any(earlier < announcement.at - left <= now for left in REMINDERS)


def tell_terminals(text: str, folder: Path | None = None) -> None:
    """Write a line on every terminal of this container. One that does not take it at once goes without."""
    line = f"\r\n*** {text}\r\n".encode()
    for path in (folder or PTS).glob("[0-9]*"):
        try:
            terminal = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            os.write(terminal, line)
        except OSError:
            continue
        finally:
            os.close(terminal)
