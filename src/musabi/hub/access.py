"""How the hub is reached: one object made from an environment, so that no module reads its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Access:
    """The hub's address, the environment of the client's process, and how patient to be.

    `stall_s`: seconds without a byte before a transfer is ended. `backoff_s`: seconds before the second
    attempt, doubled each time. `attempts`: how often one thing is tried. `request_s`: seconds for one query.
    """

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    max_workers: int = 16
    stall_s: float = 60
    backoff_s: float = 2
    attempts: int = 5
    request_s: float = 30

    @property
    def endpoint(self) -> str:
        return (self.environment.get("HF_ENDPOINT") or HUB).rstrip("/")

    @property
    def token(self) -> str | None:
        """The token of HF_TOKEN, else of the file that HF_TOKEN_PATH or HF_HOME names."""
        given = self.environment.get("HF_TOKEN") or self.environment.get("HUGGING_FACE_HUB_TOKEN")
        if given:
            return given.strip()
        home = self.environment.get("HF_HOME") or "~/.cache/huggingface"
        path = Path(self.environment.get("HF_TOKEN_PATH") or f"{home}/token").expanduser()
        try:
            return path.read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def delay(self, attempt: int) -> float:
        """Return how many seconds to wait after the failed `attempt` (1, 2, ...), at most a minute."""
        return float(min(60.0, self.backoff_s * 2 ** (attempt - 1)))
