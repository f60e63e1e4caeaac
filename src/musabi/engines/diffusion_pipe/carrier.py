"""Carries one training out: starts diffusion-pipe, reads what it says, takes what it saves, ends it when asked.

What others read is what they read of every run: record.json, events.jsonl, log.txt. What they write is stop.json;
SIGTERM and SIGINT mean the same. A training that is asked to end saves its state after the step that it is at.
"""

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from musabi.children import scrub, secrets
from musabi.engines.diffusion_pipe.causes import explain
from musabi.engines.diffusion_pipe.job import PipeJob
from musabi.engines.diffusion_pipe.parser import Course, Parser
from musabi.engines.diffusion_pipe.places import PipePlaces
from musabi.engines.diffusion_pipe.results import take
from musabi.engines.diffusion_pipe.states import (
    MODEL,
    SAVE_AND_QUIT,
    finished_models,
    newest_state,
    prune,
    trainings,
)
from musabi.engines.diffusion_pipe.trainer import MARK, TERM_SECONDS, mark_of
from musabi.errors import ExitCode, MusabiError, TrainerError
from musabi.job.child import Child
from musabi.job.diary import Diary
from musabi.job.engine import Failure
from musabi.job.events import Event
from musabi.job.loss_watch import LossWatch
from musabi.job.marked import end_marked
from musabi.job.os_errors import plain_os_error
from musabi.job.record import BEAT_SECONDS, ProducedFile, RunFolder, RunRecord, RunState

READ_SECONDS = 0.25
LOOK_SECONDS = 0.5
SAVE_SECONDS = 300.0
"""How long the step at hand and the saving of its state may take: a step over long clips takes minutes."""
TAIL_CHARACTERS = 20_000


class Carrier:
    """One training at work."""

    def __init__(self, folder: RunFolder, record: RunRecord, job: PipeJob, places: PipePlaces) -> None:
        self._folder, self._record, self._job, self._places = folder, record, job, places
        self._diary = Diary(folder)
        leg = record.legs[-1]
        self.course = Course(
            epochs=job.epochs,
            steps_per_epoch=leg.steps_per_epoch,
            max_steps=job.suited("root").get("max_steps"),
            step=record.start_step,
            epoch=record.start_epoch + 1,
        )
        self._parser = Parser(self.course)
        self._losses = LossWatch(leg.steps_per_epoch, record.start_step)
        self._before = {path.name for path in trainings(places.trainings)}
        self._training: Path | None = None
        self._stop: signal.Signals | None = None
        self._asked: float | None = None
        self._failure: Failure | None = None
        self._tail = ""
        self._hidden = secrets(os.environ)
        self._next_look = self._next_beat = 0.0

    def run(self, argv: Sequence[str], environ: dict[str, str], cwd: Path, resumed: Path | None) -> ExitCode:
        """Run the training to its end. Return the exit code that the record also holds."""
        self._training = resumed
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            child = Child(argv, environ, cwd)
            try:
                code = self._supervise(child)
            finally:
                child.close()
                end_marked(MARK, mark_of(self._places), TERM_SECONDS)
            return self._ended(code)
        except MusabiError as problem:
            return self._end(RunState.FAILED, problem.exit_code, str(problem))
        except OSError as problem:
            return self._end(RunState.FAILED, ExitCode.MACHINE_CANNOT, plain_os_error(problem))

    def _on_signal(self, number: int, _frame: object) -> None:
        self._stop = signal.Signals(number)

    def _supervise(self, child: Child) -> int:
        """Read what the trainer says until it has ended; return its exit code."""
        while (code := child.poll()) is None:
            self._hear(child.read(READ_SECONDS))
            if time.monotonic() >= self._next_look:
                self._look()
                self._next_look = time.monotonic() + LOOK_SECONDS
            if self._failure is not None or self._must_end():
                return child.end()
        self._hear(child.read(0) + "\n")
        return code

    def _hear(self, text: str) -> None:
        if not text:
            return
        text = scrub(text, self._hidden)
        self._diary.log(text)
        self._tail = (self._tail + text)[-TAIL_CHARACTERS:]
        for event in self._parser.feed(text):
            self._take(event)

    def _take(self, event: Event) -> None:
        self._diary.emit(event)
        verdict = self._losses.take(event)
        if verdict is None:
            return
        self._record.legs[-1].bad_from = verdict.bad_from
        said = f"{verdict.what}, so the training was stopped. Start anew with a lower learning_rate."
        self._failure = Failure(said, ExitCode.TRAINER_FAILED, "bad_loss")

    def _look(self) -> None:
        """Leave a sign of life, look for a request to stop, take what was saved."""
        if time.monotonic() >= self._next_beat:
            with contextlib.suppress(OSError):
                self._folder.beat()
            self._next_beat = time.monotonic() + BEAT_SECONDS
        with contextlib.suppress(OSError):
            if self._stop is None and self._folder.stop_file.exists():
                self._stop = signal.SIGTERM
        with self._diary.in_spite_of_the_disk("Taking what was saved"):
            self._find_training()
            self._harvest()
        leg = self._record.legs[-1]
        if (leg.steps, leg.steps_per_epoch) != (self.course.steps, self.course.steps_per_epoch):
            leg.steps, leg.steps_per_epoch = self.course.steps, self.course.steps_per_epoch
            self._diary.save(self._record)

    def _find_training(self) -> None:
        """Find the folder that the trainer made for this training, once it has."""
        if self._training is None:
            new = [path for path in trainings(self._places.trainings) if path.name not in self._before]
            self._training = new[0] if new else None

    def _must_end(self) -> bool:
        """Tell whether the trainer is to be ended now; ask it to save first where it has begun to train."""
        if self._stop is None:
            return False
        if self._training is None or not self.course.begun:
            return True
        if self._asked is None:
            with self._diary.in_spite_of_the_disk("Asking the trainer to save its state"):
                (self._training / SAVE_AND_QUIT).touch()
                self._asked = time.monotonic()
                self._diary.emit(Event(phase="train", message="Stopping: the trainer saves its state"))
        return self._asked is not None and time.monotonic() > self._asked + SAVE_SECONDS

    def _harvest(self, *, final: bool = False) -> None:
        """Take the LoRAs that are whole; the last one only at the end, since it bears no number."""
        if self._training is None or not self._training.is_dir():
            return
        folders = finished_models(self._training)
        last = folders[-1] if final and folders else None
        for folder in folders:
            match = MODEL.fullmatch(folder.name)
            epoch = int(match[1]) if match and folder.name.startswith("epoch") else None
            if folder == last:
                self._produced(self._take_out(folder, None))
            elif epoch is not None and epoch < self._job.epochs:
                with contextlib.suppress(
                    TrainerError
                ):  # a volume that is slow to show all of a file: next time
                    self._produced(self._take_out(folder, epoch))
        prune(self._training)

    def _take_out(self, folder: Path, epoch: int | None) -> ProducedFile:
        job, output = self._job, self._places.space.output
        steps = self.course.step if epoch is None else epoch * self.course.steps_per_epoch
        return take(folder, output, job.output_name, epoch, steps)

    def _produced(self, file: ProducedFile) -> None:
        known = {known.path: known for known in self._record.files} | {file.path: file}
        self._record.files = list(known.values())
        self._diary.save(self._record)
        self._diary.emit(
            Event(phase="train", kind=file.kind, file=str(file.path), epoch=file.epoch, step=file.step)
        )

    def _ended(self, code: int) -> ExitCode:
        """Say how the training ended.

        An exit code of 0 says little: DeepSpeed's launcher returns it, too, where the trainer was killed.
        """
        self._find_training()
        complete = self.course.complete and self._failure is None
        self._harvest(final=complete)
        self._record.steps[0].exit_code = code
        if complete:
            if not (self._places.space.output / f"{self._job.output_name}.safetensors").is_file():
                raise TrainerError(
                    "diffusion-pipe says that it is done, but left no LoRA. Its log says more."
                )
            return self._end(RunState.DONE, ExitCode.DONE, None)
        if self._failure is None and self._stop is not None:
            interrupted = self._stop == signal.SIGINT
            how = ExitCode.INTERRUPTED if interrupted else ExitCode.TERMINATED
            return self._end(RunState.STOPPED, how, self._what_was_lost())
        failure = self._failure or explain(code, self._tail)
        self._record.steps[0].cause, self._record.steps[0].retry = failure.cause, failure.retry
        return self._end(RunState.FAILED, failure.exit_code, failure.message)

    def _what_was_lost(self) -> str:
        if not self.course.begun:
            return "Stopped before training began. Nothing was lost."
        state = newest_state(self._places.trainings)
        done = self.course.step
        if state is None:
            return f"Stopped at step {done} of {self.course.steps}. No state was saved, so {done} steps are lost."
        lost = max(0, done - state.step)
        words = "nothing is lost" if lost == 0 else f"{lost} steps since then are lost"
        return f"Stopped at step {done} of {self.course.steps}. The newest state is of step {state.step}; {words}."

    def _end(self, state: RunState, code: ExitCode, message: str | None) -> ExitCode:
        record, step = self._record, self._record.steps[0]
        record.state, record.exit_code = state, int(code)
        record.message, record.ended = message, time.time()
        leg = record.legs[-1]
        leg.steps, leg.steps_per_epoch = self.course.steps, self.course.steps_per_epoch
        if state is RunState.DONE:
            leg.epochs = self.course.epochs_done
        step.state, step.message, step.ended = state.value, message, record.ended
        self._diary.save(record)
        self._diary.emit(Event(phase="run", kind=state.value, message=message))
        return code
