"""Converts each checkpoint as it is saved, one after another, beside the training that goes on."""

import glob
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from musabi.job.child import Child
from musabi.job.plan import Step

PATIENCE_SECONDS = 300.0
"""How long the end of a training waits for its last conversions."""
SHORT_PATIENCE_SECONDS = 5.0
"""How long it waits where the run is to end."""
TAIL_CHARACTERS = 2000
NO_TIME = "the run ended before that."


def clear_parts(folder: Path, output_name: str) -> None:
    """Remove the half-written files that conversions of a killed run of this name left in `folder`."""
    pattern = re.compile(
        r"\.{1,2}" + re.escape(output_name) + r"(?:-\d{6}|-step\d{8})?"
        r"(?:\.part\.safetensors(?:\..+\.part)?|\.safetensors\..+\.part)"
    )
    for path in folder.iterdir() if folder.is_dir() else ():
        if pattern.fullmatch(path.name):
            path.unlink(missing_ok=True)


def remove_part(part: Path) -> None:
    """Remove a half-written file, and what its writer had in turn beside it (musabi.whole.replacing)."""
    for path in (part, *part.parent.glob(f".{glob.escape(part.name)}.*.part")):
        path.unlink(missing_ok=True)


@dataclass
class Conversions:
    """The conversions of one run. `step_of` makes the step that converts a LoRA file.

    `done` holds the final files that were made, `failed` the sources with what was said.
    """

    step_of: Callable[[Path], Step]
    done: set[Path] = field(default_factory=set)
    failed: dict[Path, str] = field(default_factory=dict)
    _waiting: list[Path] = field(default_factory=list)
    _now: "tuple[Path, Step, Child] | None" = None
    _tail: str = ""

    def add(self, lora: Path) -> None:
        """Convert `lora` when those before it are done."""
        if lora not in self._waiting:
            self._waiting.append(lora)

    def advance(self, *, begin: bool = True) -> list[Path]:
        """Look after the conversion that is at work and begin the next; return the files that were finished.

        Where `begin` is off, none is begun: they wait.
        """
        finished = self._reap()
        if begin and self._now is None and self._waiting:
            self._begin(self._waiting.pop(0))
        return finished

    def finish(
        self, patience: float = PATIENCE_SECONDS, in_a_hurry: Callable[[], bool] = lambda: False
    ) -> list[Path]:
        """Wait for all of them, at most `patience` seconds; return the files that were finished.

        `in_a_hurry` is asked all the while: from when it says so on, the wait is short.
        """
        finished: list[Path] = []
        hurry, deadline = False, time.monotonic() + patience
        while (self._now is not None or self._waiting) and time.monotonic() < deadline:
            finished += self.advance()
            if in_a_hurry() and not hurry:
                hurry, deadline = True, min(deadline, time.monotonic() + SHORT_PATIENCE_SECONDS)
            if self._now is not None:
                self._read(0.1)
        self.close()
        return finished

    def close(self) -> None:
        """End what is at work; its half-written file goes. It and those that wait count as failed."""
        now, waiting = self._now, self._waiting
        self._now, self._waiting = None, []
        self.failed |= dict.fromkeys((*((now[0],) if now else ()), *waiting), NO_TIME)
        if now is None:
            return
        _, step, child = now
        child.close()
        if step.output is not None:
            remove_part(step.output[0])

    def _begin(self, lora: Path) -> None:
        step = self.step_of(lora)
        try:
            if step.output is not None:
                step.output[1].parent.mkdir(parents=True, exist_ok=True)
            self._now, self._tail = (lora, step, Child(step.argv, os.environ | step.env, step.cwd)), ""
        except OSError as problem:
            self.failed[lora] = str(problem)

    def _read(self, seconds: float) -> None:
        if self._now is not None:
            self._tail = (self._tail + self._now[2].read(seconds))[-TAIL_CHARACTERS:]

    def _reap(self) -> list[Path]:
        if self._now is None:
            return []
        lora, step, child = self._now
        self._read(0)
        code = child.poll()
        if code is None:
            return []
        child.close()
        self._now = None
        try:
            if code == 0 and step.output is not None:
                step.output[0].replace(step.output[1])
                step.output[0].unlink(missing_ok=True)  # two names of one file: then the rename did nothing
                self.done.add(step.output[1])
                return [step.output[1]]
        except OSError as problem:
            self._tail = str(problem)
        self.failed[lora] = (self._tail.strip().splitlines() or [f"exit code {code}"])[-1]
        if step.output is not None:
            remove_part(step.output[0])
        return []
