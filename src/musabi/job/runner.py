"""The runner: carries a plan out, step by step, and keeps the run record true while it does.

It runs as a process of its own (musabi.job.launch forks it), so that it outlives the terminal that
started it. What others read: record.json (replaced atomically), events.jsonl and log.txt (appended).
What others write: stop.json, a request to stop; SIGTERM and SIGINT mean the same.
"""

import contextlib
import os
import shutil
import signal
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from musabi.errors import ExitCode, MusabiError
from musabi.identity import identity
from musabi.job import retry, save_room
from musabi.job.child import Child
from musabi.job.converting import NO_TIME, Conversions, clear_parts
from musabi.job.diary import Diary
from musabi.job.engine import Engine, Failure
from musabi.job.events import Event
from musabi.job.finite import is_finite
from musabi.job.harvest import harvest, place_pictures
from musabi.job.loss_watch import LossWatch, Verdict, mend
from musabi.job.lost import newest_state, what_was_lost
from musabi.job.model import Job
from musabi.job.new_run import outcome_of
from musabi.job.os_errors import plain_os_error
from musabi.job.plan import Schedule, Step, plan_from_json
from musabi.job.planner import convert_step
from musabi.job.record import (
    BEAT_SECONDS,
    ProducedFile,
    RunFolder,
    RunState,
    StepOutcome,
    own_process,
)
from musabi.job.running import Ending, Running, StopRequest, groups
from musabi.job.states import LORA_IN_STATE, State, choose, find_states, prune_of
from musabi.job.step_files import prepare_files, produced, require_room, unconverted
from musabi.whole import read_json

READ_SECONDS = 0.25
HARVEST_SECONDS = 1.0
SAVE_ON_STOP_SECONDS = 300.0
TAIL_CHARACTERS = 20_000


class Runner:
    """Carries out the plan in a run folder's record."""

    def __init__(self, folder: RunFolder, engine: Engine) -> None:
        self.folder = folder
        self.engine = engine
        self.record = folder.load()
        self.job = Job.model_validate(self.record.job)
        self.plan = plan_from_json(self.record.plan)
        self.last_step = self.record.start_step
        self.stop: StopRequest | None = None
        self.ending: Ending | None = None
        self.saves = 0
        self.next_beat = 0.0
        self.diary = Diary(folder)
        self.saves_warned_of: int | None = None
        self.s_per_step: float | None = None
        self.loss_watch = self._new_loss_watch()
        self.conversions = Conversions(lambda lora: convert_step(self.engine, self.job, lora))
        self.told: set[Path] = set()

    def run(self) -> ExitCode:
        """Carry the plan out. Return the exit code that the record also holds."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self.record.pid, self.record.pid_started = own_process()
        self.record.container = identity()
        self.record.state = RunState.RUNNING
        self.record.steps = [outcome_of(step) for step in self.plan.steps]
        self.folder.save(self.record)
        try:
            code = self._all_steps()
        except MusabiError as problem:
            code = self._end(RunState.FAILED, problem.exit_code, str(problem))
        except OSError as problem:
            code = self._end(RunState.FAILED, ExitCode.MACHINE_CANNOT, plain_os_error(problem))
        except Exception as problem:
            traceback.print_exc()
            said = f"The run met an error that nobody foresaw: {type(problem).__name__}: {problem}."
            said += f" Its details are in {self.folder.log_file}."
            code = self._end(RunState.FAILED, ExitCode.MACHINE_CANNOT, said)
        finally:
            self._close_conversions()
        return code

    def _all_steps(self) -> ExitCode:
        require_room(self.job.output_dir, self.plan.disk_bytes)
        with self.diary.in_spite_of_the_disk("Looking for LoRAs to convert"):
            self._convert_what_was_left()
        for together in groups(self.plan.steps, self.record.steps):
            to_run = [pair for pair in together if not self._skips(*pair)]
            if not to_run:
                continue
            if self.stop is not None:
                return self._stopped()
            code = self._one_step(*to_run[0]) if len(to_run) == 1 else self._both(to_run)
            if code is not None:
                return code
        return self._end(RunState.DONE, ExitCode.DONE, None)

    def _skips(self, step: Step, outcome: StepOutcome) -> bool:
        """Note a step that need not run, and why."""
        why = step.skip
        if step.output is not None and step.output[1] in self.conversions.done:
            why = "it was converted when it was saved"
        if why is None:
            return False
        outcome.state, outcome.message = "skipped", why
        self.diary.emit(Event(phase=step.name, message=f"{step.title}: skipped, {why}"))
        return True

    def _both(self, pairs: Sequence[tuple[Step, StepOutcome]]) -> ExitCode | None:
        """Run steps at the same time; return an exit code where the run ends with them."""
        for step, outcome in pairs:
            self._begin(step, outcome)
        ended = self._supervise([step for step, _ in pairs])
        failures = [self._finish(*pair, result) for pair, result in zip(pairs, ended, strict=True)]
        if self.stop is not None and any(outcome.state == "stopped" for _, outcome in pairs):
            return self._stopped()
        if any(failure is not None and failure.kind == "memory" for failure in failures):
            return self._in_turn(pairs)
        for (_, outcome), failure in zip(pairs, failures, strict=True):
            if failure is not None:
                return self._failed(outcome, failure)
        return None

    def _in_turn(self, pairs: Sequence[tuple[Step, StepOutcome]]) -> ExitCode | None:
        """Run those steps of several that are not done one after the other: each has the GPU's memory for itself."""
        said = "The GPU's memory ran out with two steps at the same time. Running them one after the other."
        for step, outcome in pairs:
            if outcome.state == "done":
                continue
            outcome.tries.append(said)
            self.diary.emit(Event(phase=step.name, message=said))
            code = self._one_step(step, outcome)
            if code is not None:
                return code
        return None

    def _failed(self, outcome: StepOutcome, failure: Failure) -> ExitCode:
        outcome.state, outcome.message = "failed", failure.message
        outcome.cause, outcome.retry = failure.cause, failure.retry
        return self._end(RunState.FAILED, failure.exit_code, failure.message)

    def _one_step(self, step: Step, outcome: StepOutcome) -> ExitCode | None:
        """Run one step, again with less memory where that helps; return an exit code where the run ends with it."""
        failure = self._try(step, outcome)
        for number, fallback in enumerate(self.plan.fallbacks, 1):
            if failure is None or not retry.helps(failure, step, self.saves):
                break
            if not self.job.auto_retry:
                failure = retry.with_advice(failure, fallback)
                break
            said = retry.what_next(fallback, number, len(self.plan.fallbacks))
            outcome.tries.append(said)
            self.diary.emit(Event(phase=step.name, message=said))
            failure = self._try(retry.easier_step(step, fallback), outcome)
        if self.stop is not None and outcome.state == "stopped":
            return self._stopped()
        return None if failure is None else self._failed(outcome, failure)

    def _try(self, step: Step, outcome: StepOutcome) -> Failure | None:
        """Run one step once; return why it failed, or None where it is done or was stopped."""
        self._begin(step, outcome)
        (result,) = self._supervise([step])
        return self._finish(step, outcome, result)

    def _begin(self, step: Step, outcome: StepOutcome) -> None:
        prepare_files(step)
        self.loss_watch = self._new_loss_watch()
        if step.name == "train":
            self.last_step, self.s_per_step = self.record.start_step, None
        outcome.state, outcome.started, outcome.argv = "running", time.time(), list(step.argv)
        self.diary.save(self.record)
        self.diary.emit(Event(phase=step.name, message=step.title))

    def _finish(self, step: Step, outcome: StepOutcome, ended: Running) -> Failure | None:
        """Note how a step ended; return why it failed, or None where it is done or was stopped."""
        code = ended.code or 0
        outcome.exit_code, outcome.ended = code, time.time()
        left = self._collect(step, final=True)
        if step.name == "train" and (code == 0 or self.saves):  # without a save, another try may follow
            self._finish_conversions(failed=code != 0)
        if self.ending is not None:
            return self.ending.failure
        if code == 0:
            if left is not None:
                raise left
            self._name_output(step)
            outcome.state = "done"
            self.diary.save(self.record)
            return None
        if self.stop is not None or ended.taken_along:
            outcome.state = "stopped"
            return None
        return self.engine.explain(step, code, ended.tail)

    def _supervise(self, steps: Sequence[Step]) -> list[Running]:
        """Run children to their ends; return each with its exit code and the end of its output.

        Where one fails, or the run is to end, the others are ended too.
        """
        running: list[Running] = []
        next_harvest = 0.0
        self.diary.log("")
        try:
            for step in steps:
                child = Child(step.argv, os.environ | step.env, step.cwd)
                running.append(Running(step, child, self.engine.parser(step)))
            while any(one.code is None for one in running):
                for one in running:
                    self._listen(one, READ_SECONDS / len(running))
                if time.monotonic() >= next_harvest:
                    self._look_around([one.step for one in running])
                    next_harvest = time.monotonic() + HARVEST_SECONDS
                self._stay_awake()
                if self._must_end_now() or any(one.code for one in running):
                    for one in running:
                        if one.code is None:
                            one.taken_along = not self._must_end_now()
                            one.code = self._end_child(one)
        finally:
            for one in running:
                one.child.close()
        return running

    def _look_around(self, steps: Sequence[Step]) -> None:
        """Take what was saved, look at the room on the disk and at the conversions."""
        for step in steps:
            self._collect(step, final=False)
            with self.diary.in_spite_of_the_disk("Looking at the disk"):
                self._look_at_room(step)
        self._convert()

    def _stay_awake(self) -> None:
        """Leave a sign of life now and then, and look whether someone wants the run to end."""
        if time.monotonic() >= self.next_beat:
            with contextlib.suppress(OSError):  # a full disk must not end the run
                self.folder.beat()
            self.next_beat = time.monotonic() + BEAT_SECONDS
        with contextlib.suppress(OSError):
            self._look_for_stop()

    def _listen(self, one: Running, seconds: float) -> None:
        """Take what a child wrote within `seconds`, and note whether it has ended."""
        if one.code is not None:
            return
        one.code = one.child.poll()
        if one.code is not None:
            return
        text = one.child.read(seconds)
        if text:
            self.diary.log(text)
        one.tail = (one.tail + text)[-TAIL_CHARACTERS:]
        for event in one.parser.feed(text):
            self._take(event)

    def _convert(self) -> None:
        """Look after the conversions of checkpoints; begin one where its copy leaves room for the next save."""
        with self.diary.in_spite_of_the_disk("Converting"):
            self._converted(self.conversions.advance(begin=self._may_convert()))

    def _may_convert(self) -> bool:
        if self.plan.schedule is None:
            return True
        size, coming = self._saves_to_come(self.plan.schedule)
        return save_room.may_convert(shutil.disk_usage(self.job.output_dir).free, size, coming)

    def _finish_conversions(self, *, failed: bool) -> None:
        """Wait for the conversions, not for long where the run is to end."""

        def in_a_hurry() -> bool:
            self._stay_awake()
            return failed or self.stop is not None or self.ending is not None

        with self.diary.in_spite_of_the_disk("Converting"):
            self._converted(self.conversions.finish(in_a_hurry=in_a_hurry))

    def _close_conversions(self) -> None:
        """End the conversions, and say which were not done."""
        with self.diary.in_spite_of_the_disk("Ending the conversions"):
            self.conversions.close()
        self._converted([])

    def _convert_what_was_left(self) -> None:
        """Queue the LoRAs that a killed run of this lineage had no time to convert; remove its half-written files."""
        if not any(step.name == "train" for step in self.plan.steps):
            return
        folder, name = self.job.output_dir, self.job.output_name
        clear_parts(folder / "comfyui", name)
        for lora in unconverted(folder, name, self.record.lineage_started):
            self.conversions.add(lora)

    def _converted(self, files: Sequence[Path]) -> None:
        for path in files:
            self._take(Event(phase="convert", kind="converted", file=str(path)))
        for source, said in self.conversions.failed.items():
            if source not in self.told:
                self.told.add(source)
                then = "Convert it with:" if said == NO_TIME else "Once that is mended:"
                message = f"{source.name} was not converted: {said} {then} musabi convert {source}"
                self.diary.emit(Event(phase="convert", message=message))

    def _end_child(self, one: Running) -> int:
        """End the child; an engine that saves on stop gets the time it needs for that."""
        child, step = one.child, one.step
        if self.ending is not None and not self.ending.save:
            child.kill()  # asked to end, it might save what is of no use, or what does not fit
            return child.end()
        if not (self.engine.saves_on_stop and step.name == "train"):
            return child.end()
        child.terminate()
        deadline = time.monotonic() + SAVE_ON_STOP_SECONDS
        while (code := child.poll()) is None and time.monotonic() < deadline:
            text = child.read(READ_SECONDS)
            self.diary.log(text)
            for event in one.parser.feed(text):
                self._take(event)
            self._stay_awake()
        return child.end() if code is None else code

    def _must_end_now(self) -> bool:
        return self.ending is not None or (self.stop is not None and not self.stop.after_save)

    def _look_for_stop(self) -> None:
        if (self.stop is None or self.stop.after_save) and self.folder.stop_file.exists():
            request = read_json(self.folder.stop_file) or {}
            self.stop = StopRequest(after_save=bool(request.get("after_save")))

    def _on_signal(self, number: int, _frame: object) -> None:
        self.stop = StopRequest(signal=number)

    def _take(self, event: Event) -> None:
        """Note one event of the step and pass it on."""
        if event.phase == "train" and event.step is not None:
            self.last_step = max(self.last_step, event.step)
            self.s_per_step = event.s_per_step or self.s_per_step
        if event.kind == "fatal" and event.message is not None:
            self.ending = Ending(Failure(event.message, ExitCode.WRONG_REQUEST))
        if event.file is not None and event.kind is not None and event.kind in FILE_KINDS:
            with self.diary.in_spite_of_the_disk("Looking at what was saved"):
                self._produced([produced(event.kind, Path(event.file), event.epoch, event.step)])
        self.diary.emit(event)
        verdict = self.loss_watch.take(event)
        if verdict is not None:
            self._bad_loss(verdict)

    def _new_loss_watch(self) -> LossWatch:
        return LossWatch(
            self.record.legs[-1].steps_per_epoch if self.record.legs else 1, self.record.start_step
        )

    def _bad_loss(self, verdict: Verdict) -> None:
        """End the training, or only say so where the job asks for that."""
        if self.job.on_bad_loss == "go-on":
            self.diary.emit(
                Event(phase="train", message=f"{verdict.what}. It goes on, as ON_BAD_LOSS=go-on asks for.")
            )
            return
        self.record.legs[-1].bad_from = verdict.bad_from
        sound = choose(self._states(), self.record.lineage_started, self.engine.state_is_whole)
        said = f"{verdict.what}, so the run was stopped. {mend(sound.state.name if sound else None)}"
        self.ending = Ending(Failure(said, ExitCode.TRAINER_FAILED, "bad_loss"))

    def _look_at_room(self, step: Step) -> None:
        """Say in time that the disk is too small for the saves to come; end the training before one fails."""
        if step.name != "train" or self.plan.schedule is None or self.ending is not None:
            return
        size, coming = self._saves_to_come(self.plan.schedule)
        steps = coming.steps
        free = shutil.disk_usage(self.job.output_dir).free
        fit = save_room.saves_that_fit(free, size, coming)
        if fit == len(steps):
            return
        if free < size.surely and save_room.is_near(self.last_step, steps[0], self.s_per_step):
            self._end_for_room(size)
        elif self.saves_warned_of is None or fit < self.saves_warned_of:
            self.saves_warned_of = fit
            self.diary.emit(Event(phase=step.name, message=save_room.warning(free, size, fit, coming)))

    def _saves_to_come(self, timing: Schedule) -> tuple[save_room.Sizes, save_room.Coming]:
        steps = save_room.coming_steps(timing, self.last_step)
        coming = save_room.Coming(steps, len(self._states()), self.job.keep_last_states)
        return save_room.sizes(self.record.files, self.plan), coming

    def _end_for_room(self, size: save_room.Sizes) -> None:
        self._prune_states()
        free = shutil.disk_usage(self.job.output_dir).free
        if free >= size.surely:
            return
        lost = newest_state(self.record, self._states(), self.last_step)
        said = f"{save_room.stop_words(free, size, self.last_step)} {lost}"
        self.ending = Ending(
            Failure(said, ExitCode.MACHINE_CANNOT, "no_room", "disk"), save=free >= size.state
        )

    def _collect(self, step: Step, *, final: bool) -> OSError | None:
        """Take what the step saved; return why some of it could not be taken, or None."""
        troubles: list[OSError] = []
        files: list[ProducedFile] = []
        try:
            output, name = self.job.output_dir, self.job.output_name
            files = harvest(step, output, name, final=final, trouble=troubles.append)
        except OSError as problem:
            troubles.append(problem)
        for trouble in troubles:
            self.diary.trouble("Moving what was saved to its place", trouble)
        if final:
            files += place_pictures(step)
        self._produced(files)
        for file in files:
            self.diary.emit(
                Event(phase=step.name, kind=file.kind, file=str(file.path), epoch=file.epoch, step=file.step)
            )
        return troubles[0] if troubles else None

    def _name_output(self, step: Step) -> None:
        if step.output is None:
            return
        written, final = step.output
        written.replace(final)
        written.unlink(missing_ok=True)  # two names of one file: then the rename did nothing
        self._take(Event(phase=step.name, kind="converted", file=str(final)))

    def _produced(self, files: Sequence[ProducedFile]) -> None:
        """Note finished files. Every checkpoint, state, sample and converted file comes by here once, when whole."""
        if not files:
            return
        for file in files:
            if file.kind in ("checkpoint", "state"):
                self.saves += 1
            if file.kind == "checkpoint":
                self.conversions.add(file.path)
        known = {file.path: file for file in self.record.files}
        self.record.files = list((known | {file.path: file for file in files}).values())
        if any(file.kind == "state" for file in files):
            with self.diary.in_spite_of_the_disk("Reading the new state"):
                self._require_numbers(files)
            # The state at the end comes before the last LoRA, which is a moment away and ends the step.
            last = f"{self.job.output_name}-state"
            between = any(file.kind == "state" and file.path.name != last for file in files)
            if between and self.stop is not None and self.stop.after_save:
                self.stop = replace(self.stop, after_save=False)
        if any(file.kind in ("state", "checkpoint") for file in files):
            with self.diary.in_spite_of_the_disk("Removing old states"):
                self._prune_states()
        self.diary.save(self.record)

    def _require_numbers(self, files: Sequence[ProducedFile]) -> None:
        """End a training whose weights are gone before its loss shows it."""
        for file in files:
            if file.kind == "state" and not is_finite(file.path / LORA_IN_STATE):
                self._bad_loss(Verdict(f"The LoRA in {file.path.name} is no number any more", self.last_step))

    def _states(self) -> list[State]:
        return find_states(self.job.output_dir, self.job.output_name, self.record.legs)

    def _prune_states(self) -> None:
        gone = set(prune_of(self.record))
        self.record.files = [file for file in self.record.files if file.path not in gone]

    def _stopped(self) -> ExitCode:
        stop = self.stop or StopRequest()
        code = ExitCode.INTERRUPTED if stop.signal == signal.SIGINT else ExitCode.TERMINATED
        return self._end(
            RunState.STOPPED, code, what_was_lost(self.record, self.plan, self._states(), self.last_step)
        )

    def _end(self, state: RunState, code: ExitCode, message: str | None) -> ExitCode:
        self._close_conversions()
        self.record.state, self.record.exit_code = state, int(code)
        self.record.message, self.record.ended = message, time.time()
        for outcome in self.record.steps:
            if outcome.state == "running":
                outcome.state, outcome.ended = state.value, self.record.ended
        self.diary.save(self.record)  # or not, where the disk is full: what follows the run must still happen
        self.diary.emit(Event(phase="run", kind=state.value, message=message))
        return code


FILE_KINDS = frozenset({"checkpoint", "state", "sample", "converted"})
