"""A job that a slot is busy with: its process, what it says, how it is asked to end."""

import contextlib
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from musabi.serverless.attempt import SAVE_SECONDS, Attempt, end, end_left_behind, processes_of
from musabi.serverless.job_folder import JobFolder


@dataclass
class Going:
    """One slot's work. `attempt` is None where a server of before ended before it had started any.

    `since` is when it was started, in Unix seconds: what the folder said before is of another try.
    """

    job_id: str
    slot: int
    folder: JobFolder
    attempt: Attempt | None
    since: float
    process: subprocess.Popen[bytes] | None = None
    lost: tuple[str, ...] = ()
    """Paths of secrets that the request held and that are gone."""
    progress: dict[str, Any] | None = None
    told: bool = False
    """Whether the hub was told that it was given up."""
    _closing: threading.Thread | None = field(default=None, repr=False)

    @property
    def is_alive(self) -> bool:
        """Tell whether its process runs. An own child that has ended is waited for, so that it does not linger."""
        if self.process is not None:
            return self.process.poll() is None
        return self.attempt is not None and self.attempt.is_alive

    def new_progress(self) -> dict[str, Any] | None:
        """Return what it said since the last look, or None."""
        with contextlib.suppress(OSError, ValueError, TypeError):  # tried again at the next look
            said = self.folder.progress()
            if said is not None and said != self.progress and float(said.get("t", 0)) >= self.since:
                self.progress = said
                return said
        return None

    def ask_to_end(self, why: str, patience_s: float = SAVE_SECONDS) -> None:
        """Let it save its state and end; `patience_s` seconds later its processes are ended. Returns at once."""
        attempt = self.attempt
        if self._closing is None and attempt is not None:
            self._in_background(lambda: end(self.folder, attempt, why, patience_s))

    def is_over(self, patience_s: float = SAVE_SECONDS) -> bool:
        """Tell whether nothing of it runs any more; what its process left behind is ended meanwhile."""
        if self.is_alive or (self._closing is not None and self._closing.is_alive()):
            return False
        if next(processes_of(self.folder), None) is None:
            return True
        self._in_background(lambda: end_left_behind(self.folder, patience_s))
        return False

    def tell_the_hub(self, tell: Callable[[], None]) -> None:
        """Let `tell` tell the hub that it was given up; it is over once that has ended. Returns at once."""
        self.told = True
        self._in_background(tell)

    def _in_background(self, work: Any) -> None:  # noqa: ANN401 - a callable without arguments
        self._closing = threading.Thread(target=work, name=f"end {self.job_id}", daemon=True)
        self._closing.start()
