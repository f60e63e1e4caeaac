"""What a client sees of a job while it waits."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Phase = Literal[
    "waiting",
    "starting",
    "dataset",
    "captions",
    "check",
    "models",
    "training",
    "converting",
    "uploading",
    "done",
]


@dataclass(frozen=True)
class Progress:
    """One moment of a job. `progress` is percent of the phase, `eta_s` seconds, `t` Unix seconds.

    `message` and `progress` are what the original endpoint sent; the others are left out where unknown.
    """

    phase: Phase
    message: str
    progress: float | None = None
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    eta_s: float | None = None
    t: float = field(default_factory=lambda: round(time.time(), 3))

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object without what is unknown."""
        return {name: value for name, value in asdict(self).items() if value is not None}
