"""What each way of handing a result over is given, and how patient it is."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from musabi.children import Cancelled
from musabi.errors import MachineError
from musabi.hub.parcel import Piece, piece
from musabi.serverless.context import Context
from musabi.serverless.delivery.package import make_archive, pack
from musabi.serverless.parts import Trained

TELL_SECONDS = 1.0

Answer = TypeVar("Answer")


class AgainError(MachineError):
    """Something that another try may mend."""


@dataclass(frozen=True)
class Patience:
    """How often one thing is tried, and seconds before the second try, doubled each time."""

    attempts: int = 4
    backoff_s: float = 2.0

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after so many failures, at most a minute."""
        return float(min(60.0, self.backoff_s * 2 ** (failures - 1)))


@dataclass
class Handover:
    """One result to hand over. `folder` is for what is made for it, such as the archive."""

    context: Context
    trained: Trained
    folder: Path
    patience: Patience = field(default_factory=Patience)

    @property
    def name(self) -> str:
        """The job's name as part of a file's name."""
        return self.context.folder.path.name

    @cached_property
    def pieces(self) -> list[Piece]:
        """The files, with a card that names no repo."""
        return pack(self.context, self.trained, self.folder)

    @cached_property
    def archive(self) -> Piece:
        """The zip of the files, made once: lora_JOB.zip with the epoch's folder in it, as the original's."""
        name = f"lora_{self.name}.zip"
        self.context.tell("uploading", "Packing results")
        return piece(name, make_archive(self.pieces, self.folder / name, self.trained.latest_epoch))

    @property
    def archive_mb(self) -> float:
        """The archive's size in MB (10^6 bytes)."""
        return round(self.archive.size / 1e6, 2)

    def persist(self, title: str, work: Callable[[], Answer]) -> Answer:
        """Return what `work` returns; it is tried again while it raises AgainError.

        Raises:
            Cancelled: the job shall end. Besides, what `work` raises, AgainError when patience is at its end.
        """
        failures = 0
        while True:
            try:
                return work()
            except AgainError as problem:
                failures += 1
                if failures >= self.patience.attempts:
                    raise
                self.context.say(f"{title}: {problem} Trying again.")
            if self.context.stop.wait(self.patience.delay(failures)):
                raise Cancelled

    def moved(self, message: str, size: int) -> Callable[[int], None]:
        """Return what is called with the bytes that went, by any thread: the client sees the percentage.

        It raises Cancelled where the job shall end.
        """
        lock = threading.Lock()
        done, told = 0, 0.0

        def take(count: int) -> None:
            nonlocal done, told
            if self.context.stop.is_set():
                raise Cancelled
            with lock:
                done += count
                if time.monotonic() - told < TELL_SECONDS:
                    return
                told = time.monotonic()
                percent = round(min(100.0, 100 * done / max(1, size)), 1)
                self.context.tell("uploading", message, progress=percent)

        return take
