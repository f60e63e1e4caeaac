"""musubi-tuner's output as events.

stdout and stderr come merged: tqdm bars (separated by carriage returns, a bar often drawn twice for a
step), log lines that may be glued to the end of a bar, and prints. Steps and epochs of a resumed leg get
the offsets of their step, so that they count the whole run.
"""

import math
import re
from dataclasses import dataclass

from musabi.engines.musubi.causes.network import NO_MODULES, NO_MODULES_MESSAGE
from musabi.job.events import Event
from musabi.job.plan import Step

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_TRAIN_BAR = re.compile(
    r"steps:\s+\d+%\|[^|]*\|\s*(?P<step>\d+)/(?P<steps>\d+) "
    r"\[[\d:?]+<[\d:?]+,\s*(?P<rate>[\d.?]+)(?P<unit>it/s|s/it)(?:, (?P<more>[^]]*))?\]"
)
_LOSS = re.compile(r"avr_loss=(?P<loss>[0-9.eE+-]+|-?nan|-?inf)")
_COUNT_BAR = re.compile(r"^(?P<step>\d+)it \[[\d:]+,\s*(?P<rate>[\d.?]+)(?P<unit>it/s|s/it)\]")
_DENOISING_BAR = re.compile(r"(?:Denoising steps|Sampling):\s+\d+%\|")
_EPOCH = re.compile(r"^epoch (?P<epoch>\d+)/(?P<epochs>\d+)$")
_TOTAL = re.compile(r"total optimization steps / [^:]*: (?P<steps>\d+)$")
_SAVING = re.compile(r"^saving checkpoint: (?P<path>.+)$")
_SAMPLE_SAVED = re.compile(
    r"(?:Sample(?: images)? saved? to:|Video saved to:|Saved image to|Saved image:) (?P<path>.+)$"
)

# What a log line says (a pattern) -> what a person is told.
_NEWS: tuple[tuple[str, str], ...] = (
    (r"Loading (?:DiT|Dit)\b", "Loading the model"),
    (r"Loading high noise model", "Loading the model for high noise"),
    (r"Loading .*(?:[Tt]ext [Ee]ncoder|T5|BYT5|CLIP)", "Loading the text encoder"),
    (r"Loading .*VAE", "Loading the VAE"),
    ("cache Text Encoder outputs for sample prompt", "Encoding the sample prompts"),
    ("resume training from local state", "Restoring the state"),
    ("generating sample images at step", "Rendering samples"),
    (
        "Text encoder output cache file not found",
        "An image has no cached caption and is left out. Stop, and cache again with: musabi prepare",
    ),
    (
        "not all LoRA keys are used",
        "Part of the LoRA does not fit the model and is left out. Name the file as it was trained.",
    ),
    ("Error generating latent for prompt", "A prompt could not be rendered and is left out; see the log."),
)
# What a log line says (a pattern) -> why the run can't come to anything, though the trainer goes on.
_FATAL: tuple[tuple[str, str], ...] = ((NO_MODULES, NO_MODULES_MESSAGE),)
_REPEATED = frozenset({"generating sample images at step"})


@dataclass
class _Progress:
    """Where a step stands: counts of the whole run."""

    step: int | None = None
    steps: int | None = None
    epoch: int | None = None
    epochs: int | None = None


class MusubiParser:
    """Turns the output of one step into events; one is made for each step that runs."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._rest = ""
        self._at = _Progress(steps=step.total)
        self._before = 0
        self._said: set[str] = set()
        self._last: Event | None = None

    def feed(self, text: str) -> list[Event]:
        """Take the next piece of output; return what it tells, one event a training step at most."""
        *lines, self._rest = re.split(r"[\r\n]", self._rest + text)
        whole_bar = _ANSI.sub("", self._rest).rstrip().endswith("]")
        events: list[Event] = []
        for line in (*lines, self._rest) if whole_bar else lines:
            for event in self._line(_ANSI.sub("", line).strip()):
                self._add(events, event)
        return events

    def _add(self, events: list[Event], event: Event) -> None:
        """Add an event; of a step's drawings the last one stays, and one that says nothing new goes."""
        last = self._last
        if event.message is None and event.kind is None:
            if last is not None and _said(event) == _said(last):
                return
            if events and events[-1] is last and (event.step, event.epoch) == (last.step, last.epoch):
                events.pop()
            self._last = event
        events.append(event)

    def _line(self, line: str) -> list[Event]:
        if not line or _DENOISING_BAR.match(line):
            return []
        for pattern, read in (
            (_TRAIN_BAR, self._train_bar),
            (_COUNT_BAR, self._count_bar),
            (_EPOCH, self._epoch),
            (_TOTAL, self._total),
            (_SAVING, self._saving),
            (_SAMPLE_SAVED, self._sample),
        ):
            match = pattern.search(line)
            if match:
                return read(match) + self._news(line[match.end() :])
        return self._news(line)

    def _train_bar(self, match: re.Match[str]) -> list[Event]:
        step = int(match["step"])
        if step == 0:
            return []
        self._at.step = step + self._step.step_offset
        self._at.steps = int(match["steps"]) + self._step.step_offset
        # The trainer restarts its clock after the first step, so the first rate means nothing.
        seconds = _seconds_a_step(match["rate"], match["unit"]) if step > 1 else None
        loss = _LOSS.search(match["more"] or "")
        value = float(loss["loss"]) if loss else None
        if value is not None and not math.isfinite(value):
            value = math.nan  # one object, so that a bar that is drawn twice is still the same
        return [self._event(loss=value, s_per_step=seconds, eta_s=self._eta(seconds))]

    def _count_bar(self, match: re.Match[str]) -> list[Event]:
        step = int(match["step"])
        if step == 0:
            self._before = self._at.step or 0  # the next dataset's bar begins
            return []
        self._at.step = self._before + step
        if self._at.steps is not None:
            self._at.steps = max(self._at.steps, self._at.step)
        seconds = _seconds_a_step(match["rate"], match["unit"])
        return [self._event(s_per_step=seconds, eta_s=self._eta(seconds))]

    def _epoch(self, match: re.Match[str]) -> list[Event]:
        self._at.epoch = int(match["epoch"]) + self._step.epoch_offset
        self._at.epochs = int(match["epochs"]) + self._step.epoch_offset
        return [self._event()]

    def _total(self, match: re.Match[str]) -> list[Event]:
        self._at.steps = int(match["steps"]) + self._step.step_offset
        return []

    def _saving(self, match: re.Match[str]) -> list[Event]:
        return [Event(phase=self._step.name, message="Saving a checkpoint")]

    def _sample(self, match: re.Match[str]) -> list[Event]:
        if self._step.pictures is not None:  # it is named when it is in its place
            return [Event(phase=self._step.name, message="Rendered a sample")]
        path = match["path"].strip()  # pictures are named without what is added to their name
        file = path if path.endswith((".mp4", ".png")) else f"{path}_000.png"
        return [Event(phase=self._step.name, kind="sample", file=file)]

    def _news(self, line: str) -> list[Event]:
        found = [event for sign, words in _NEWS if re.search(sign, line) for event in self._once(sign, words)]
        fatal = [words for sign, words in _FATAL if re.search(sign, line)]
        return found + [Event(phase=self._step.name, kind="fatal", message=words) for words in fatal]

    def _once(self, sign: str, words: str) -> list[Event]:
        if sign in self._said and sign not in _REPEATED:
            return []
        self._said.add(sign)
        return [Event(phase=self._step.name, message=words)]

    def _event(
        self, loss: float | None = None, s_per_step: float | None = None, eta_s: float | None = None
    ) -> Event:
        at = self._at
        return Event(
            phase=self._step.name,
            step=at.step,
            steps=at.steps,
            epoch=at.epoch,
            epochs=at.epochs,
            loss=loss,
            s_per_step=s_per_step,
            eta_s=eta_s,
        )

    def _eta(self, seconds: float | None) -> float | None:
        if seconds is None or self._at.step is None or self._at.steps is None:
            return None
        return round(seconds * (self._at.steps - self._at.step), 1)


def _seconds_a_step(rate: str, unit: str) -> float | None:
    if rate == "?" or float(rate) == 0:
        return None
    return float(rate) if unit == "s/it" else round(1 / float(rate), 4)


def _said(event: Event) -> tuple[int | None, int | None, float | None]:
    """Return what makes one progress event differ from another; its rate alone doesn't."""
    return event.step, event.epoch, event.loss
