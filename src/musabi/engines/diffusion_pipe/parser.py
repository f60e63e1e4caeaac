"""diffusion-pipe's output as events.

Its lines, as train.py, utils/saver.py and utils/dataset.py print them, and DeepSpeed for each step:

    caching latents: (512, 512, 1)
    [WARNING] size bucket (512, 512, 1) is being completely dropped because it doesn't have enough images
    Resuming training from checkpoint. Resuming at epoch: 3, step: 41
    steps: 41 loss: 0.0812 iter time (s): 1.204 samples/sec: 3.322
    Started new epoch: 4
    Saving model to directory epoch3
    Manually quitting
    TRAINING COMPLETE!
"""

import math
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from musabi.job.events import Event
from musabi.job.plan import StepName

LINE_END = re.compile(r"[\r\n]")
STEP = re.compile(r"steps: (?P<step>\d+) loss: (?P<loss>[-+.\w]+) .*?iter time \(s\): (?P<seconds>[.\d]+)")
RESUMED = re.compile(r"Resuming at epoch: (?P<epoch>\d+), step: (?P<step>\d+)")
NEW_EPOCH = re.compile(r"Started new epoch: (?P<epoch>\d+)")
DROPPED = re.compile(
    r"size bucket (?P<bucket>\([\d., ]+\)) is being completely dropped"
    r"|video with frames=(?P<frames>\d+) is being skipped because it is too short"
)
CACHING: tuple[tuple[str, StepName, str], ...] = (
    ("caching latents", "cache-latents", "Caching latents"),
    ("caching text embeddings", "cache-text", "Caching captions"),
)
COMPLETE = "TRAINING COMPLETE!"
SHORTEST_AVERAGE, LONGEST_AVERAGE = 10, 1000
LONGEST_LINE = 20_000


@dataclass
class Course:
    """How the training stands. `steps_per_epoch` is worked out from the first epoch that ends, before that guessed."""

    epochs: int
    steps_per_epoch: int
    max_steps: int | None = None
    step: int = 0
    epoch: int = 1
    begun: bool = False
    complete: bool = False

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        if self.complete:
            return self.step
        whole = max(self.epochs * self.steps_per_epoch, self.step)
        return min(whole, self.max_steps) if self.max_steps else whole

    @property
    def epochs_done(self) -> int:
        """Epochs that ended: all of them, where a complete training was not cut short by its number of steps."""
        cut_short = self.max_steps is not None and self.step >= self.max_steps
        return self.epochs if self.complete and not cut_short else self.epoch - 1


class Parser:
    """Takes the output of one training. A loss is the mean over about an epoch: single steps differ too much."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self._rest = ""
        self._losses: deque[float] = deque(maxlen=LONGEST_AVERAGE)
        self._phase: StepName | None = None
        self._readers: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], list[Event]]], ...] = (
            (STEP, self._step),
            (NEW_EPOCH, self._new_epoch),
            (RESUMED, self._resumed),
            (DROPPED, self._dropped),
        )

    def feed(self, text: str) -> list[Event]:
        """Take the next piece of output, of any length; return the events in it."""
        *lines, self._rest = LINE_END.split(self._rest + text)
        self._rest = self._rest[-LONGEST_LINE:]
        return [event for line in lines for event in self._line(line)]

    def _line(self, line: str) -> list[Event]:
        for pattern, read in self._readers:
            match = pattern.search(line)
            if match:
                return read(match)
        if line.strip() == COMPLETE:
            self.course.complete = True
        for beginning, phase, message in CACHING:
            if line.startswith(beginning) and phase != self._phase:
                self._phase = phase
                return [Event(phase=phase, message=message)]
        return []

    def _step(self, match: re.Match[str]) -> list[Event]:
        try:
            loss = float(match["loss"])
        except ValueError:
            return []
        course = self.course
        course.begun, course.step = True, int(match["step"])
        self._losses.append(loss)
        seconds = float(match["seconds"])
        return [
            Event(
                phase="train",
                step=course.step,
                steps=course.steps,
                epoch=course.epoch,
                epochs=course.epochs,
                loss=self._average(),
                s_per_step=seconds,
                eta_s=round(seconds * max(0, course.steps - course.step), 1),
            )
        ]

    def _average(self) -> float:
        newest = self._losses[-1]
        if not math.isfinite(newest):
            return newest
        span = min(max(self.course.steps_per_epoch, SHORTEST_AVERAGE), LONGEST_AVERAGE)
        counted = [loss for loss in list(self._losses)[-span:] if math.isfinite(loss)]
        return round(sum(counted) / len(counted), 6)

    def _new_epoch(self, match: re.Match[str]) -> list[Event]:
        course = self.course
        course.epoch = int(match["epoch"])
        if course.epoch > 1 and course.step:
            course.steps_per_epoch = max(1, course.step // (course.epoch - 1))
        return []

    def _dropped(self, match: re.Match[str]) -> list[Event]:
        said = (
            f"The files of size {match['bucket']} are not trained on: they don't fill one step "
            "(batch_size times gradient_accumulation_steps)."
            if match["bucket"]
            else f"A video of {match['frames']} frames is not trained on: it is shorter than frame_buckets."
        )
        return [Event(phase="cache-latents", message=said)]

    def _resumed(self, match: re.Match[str]) -> list[Event]:
        self.course.epoch, self.course.step = int(match["epoch"]), int(match["step"]) - 1
        return [Event(phase="train", message=f"Going on at step {match['step']}, epoch {match['epoch']}")]
