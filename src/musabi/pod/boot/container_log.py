"""The container's log: what the pod says to the person who opens it on Runpod.

One form, which tests and people may rely on:

    musabi HH:MM:SS SERVICE: text

SERVICE is boot, or the name of a service or hook whose line it is. A text never holds a line break or the
value of a secret variable. Lines are short: what is longer than `LINE_CHARACTERS` is cut.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable

LINE_CHARACTERS = 2000

Say = Callable[[str, str], None]


def line(service: str, text: str, when: float) -> str:
    """Return a line of the log; `when` is Unix seconds, shown in local time."""
    flat = " ".join(text.split("\n")).rstrip()
    cut = flat if len(flat) <= LINE_CHARACTERS else flat[:LINE_CHARACTERS] + " ..."
    return f"musabi {time.strftime('%H:%M:%S', time.localtime(when))} {service}: {cut}\n"


def container_log(hidden: list[str]) -> Say:
    """Return a function that writes (service, text) to stdout, without the `hidden` values.

    A log that nobody reads any more must not end the pod: errors are passed over.
    """

    def say(service: str, text: str) -> None:
        for value in hidden:
            text = text.replace(value, "***")
        with contextlib.suppress(OSError, ValueError):
            os.write(sys.stdout.fileno(), line(service, text, time.time()).encode(errors="replace"))

    return say
