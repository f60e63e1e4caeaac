"""Looks on while a trainer runs: what is new in its events becomes progress, and now and then an update."""

import math
import time
from typing import Any

from musabi.job.events import Event, parse
from musabi.job.record import RunFolder
from musabi.serverless.context import Context
from musabi.serverless.progress import Phase

WORDS = {
    "cache-latents": "Caching latents",
    "cache-text": "Caching captions",
    "adapt": "Preparing the model",
    "train": "Training",
    "convert": "Converting for ComfyUI",
    "sample": "Rendering samples",
}
TELL_SECONDS = 1.0


class Onlooker:
    """Reads a run's events as they come. TRAINING is told to the hub every `update_s` seconds."""

    def __init__(self, context: Context, update_s: float) -> None:
        self._context = context
        self._update_s = update_s
        self._updated = time.monotonic()
        self._told = 0.0
        self._run = ""
        self._position = 0
        # Only diffusion-pipe leaves out files that the check before it let through, and says so there.
        self._warns = context.choice.engine == "diffusion_pipe"
        self.warnings: list[str] = []
        """What the trainer left out of the dataset."""

    def look(self, folder: RunFolder) -> None:
        """Take in what was written since, and tell the newest of it."""
        if folder.path.name != self._run:
            self._run, self._position = folder.path.name, 0
        newest = self._newest(folder)
        if newest is None or time.monotonic() - self._told < TELL_SECONDS:
            return
        self._told = time.monotonic()
        values = as_progress(newest)
        phase: Phase = "converting" if newest.phase in ("convert", "sample") else "training"
        self._context.tell(phase, words(newest), **values)
        if newest.phase == "train" and newest.step and time.monotonic() - self._updated > self._update_s:
            self._updated = time.monotonic()
            self._context.updates.add("TRAINING", {"message": words(newest), **values})

    def _newest(self, folder: RunFolder) -> Event | None:
        newest = None
        try:
            with folder.events_file.open("rb") as file:
                file.seek(self._position)
                while (line := file.readline()).endswith(b"\n"):
                    self._position = file.tell()
                    event = parse(line.decode("utf-8", errors="replace"))
                    if event is None or event.phase not in WORDS:
                        continue
                    if event.step is not None:
                        newest = event
                    elif self._warns and event.phase == "cache-latents" and event.message:
                        self.warnings.append(event.message)
        except OSError:
            return None
        return newest


def words(event: Event) -> str:
    """Return an event in words, as the original's clients know them: "Training epoch 3 of 100..."."""
    if event.phase == "train" and event.epoch is not None:
        whole = f" of {event.epochs}" if event.epochs else ""
        return f"Training epoch {event.epoch}{whole}..."
    return f"{WORDS[event.phase]}..."


def as_progress(event: Event) -> dict[str, Any]:
    """Return the numbers of an event by the names of Progress."""
    known = {
        name: getattr(event, name)
        for name in ("epoch", "epochs", "step", "steps", "loss", "eta_s")
        if getattr(event, name) is not None
    }
    if event.step is not None and event.steps:
        known["progress"] = round(100 * event.step / event.steps, 1)
    return {
        name: value for name, value in known.items() if not isinstance(value, float) or math.isfinite(value)
    }
