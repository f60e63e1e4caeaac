"""Converts each checkpoint as it is saved, one after another, beside the training that goes on."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from musabi.job.child import Child
from musabi.job.plan import Step

PATIENCE_SECONDS = 300.0
"""How long the end of a training waits for its last conversions."""
TAIL_CHARACTERS = 2000


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
        self._waiting.append(lora)

    def advance(self) -> list[Path]:
        """Look after the conversion that is at work and begin the next; return the files that were finished."""
        finished = self._reap()
        if self._now is None and self._waiting:
            self._begin(self._waiting.pop(0))
        return finished

    def finish(self, patience: float = PATIENCE_SECONDS) -> list[Path]:
        """Wait for all of them, at most `patience` seconds; return the files that were finished."""
        finished: list[Path] = []
        deadline = time.monotonic() + patience
        while (self._now is not None or self._waiting) and time.monotonic() < deadline:
            finished += self.advance()
            if self._now is not None:
                self._read(0.1)
        self.close()
        return finished

    def close(self) -> None:
        """End what is at work; its half-written file goes."""
        if self._now is None:
            return
        _, step, child = self._now
        child.close()
        if step.output is not None:
            step.output[0].unlink(missing_ok=True)
        self._now, self._waiting = None, []

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
                self.done.add(step.output[1])
                return [step.output[1]]
        except OSError as problem:
            self._tail = str(problem)
        if step.output is not None:
            step.output[0].unlink(missing_ok=True)
        self.failed[lora] = (self._tail.strip().splitlines() or [f"exit code {code}"])[-1]
        return []
