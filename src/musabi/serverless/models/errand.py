"""What fetching a job's weights is given, whoever asks: a job, or `musabi models download --to`."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from musabi.hub.access import Access
from musabi.hub.listing import free_bytes
from musabi.serverless.models.locks import Pace
from musabi.serverless.places import Places

Tell = Callable[[str, float | None], None]


@dataclass(frozen=True)
class Errand:
    """The weights of one model, to be brought to `places`.

    `title` is the model's name for people. `tell` hears how it stands (a sentence, and percent where known), `say` what
    is worth a line in a log. `free` returns the free bytes of a folder's filesystem.
    """

    places: Places
    access: Access
    title: str
    tell: Tell = lambda _text, _percent: None
    say: Callable[[str], None] = lambda _text: None
    cancel: threading.Event = field(default_factory=threading.Event)
    pace: Pace = Pace()  # noqa: RUF009 - frozen
    free: Callable[[Path], int] = free_bytes
