"""Progress as JSON lines: one `Event` a line, fields absent where unknown.

The embedded engine prints these lines itself; for other trainers the engine's parser makes them from
the trainer's own output. The runner appends them to `events.jsonl` of the run.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Event:
    """One moment of a run. `t` is Unix time in seconds, `s_per_step` and `eta_s` are seconds.

    `phase` is a step's name (`cache-latents`, `cache-text`, `train`, `convert`, `sample`) or `run`.
    `file` is a finished file or state folder, `kind` what it is: `checkpoint`, `state`, `sample`,
    `converted`. Without a file, `kind` is `fixed-loss` (the loss on a fixed set of noise), `error` (`message`
    says why the step failed), `fatal` (`message` says why nothing can come of the step, though its process goes
    on) or, in phase `run`, the state that the run ended in. A `loss` that is no number is left out of the JSON.
    """

    phase: str
    t: float | None = None
    step: int | None = None
    steps: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    lr: float | None = None
    s_per_step: float | None = None
    eta_s: float | None = None
    message: str | None = None
    file: str | None = None
    kind: str | None = None

    def to_json(self) -> str:
        """Return the event as one JSON line without a newline; a missing `t` becomes now."""
        values = {name: value for name, value in asdict(self).items() if _can_be_said(value)}
        values.setdefault("t", round(time.time(), 3))
        return json.dumps(values, ensure_ascii=False)


def _can_be_said(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


FIELDS = frozenset(Event.__dataclass_fields__)


def parse(line: str) -> Event | None:
    """Return the event that `line` holds, or None where it holds none."""
    if not line.startswith("{"):
        return None
    try:
        values = json.loads(line)
    except json.JSONDecodeError:
        return None
    if not isinstance(values, dict) or "phase" not in values:
        return None
    return Event(**{name: value for name, value in values.items() if name in FIELDS})


def read(path: Path) -> Iterator[Event]:
    """Yield the events of an `events.jsonl`; an unfinished last line is passed over."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        event = parse(line)
        if event is not None:
            yield event
