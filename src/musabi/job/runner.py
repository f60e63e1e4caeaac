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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from musabi.errors import ExitCode, MachineError, MusabiError
from musabi.identity import identity
from musabi.job import retry, save_room
from musabi.job.child import Child
from musabi.job.converting import Conversions
from musabi.job.engine import Engine, Failure, OutputParser
from musabi.job.events import Event
from musabi.job.finite import is_finite
from musabi.job.harvest import clear_staging, harvest, place_pictures
from musabi.job.loss_watch import LossWatch, Verdict, mend
from musabi.job.lost import newest_state, what_was_lost
from musabi.job.model import Job
from musabi.job.new_run import outcome_of
from musabi.job.plan import Step, plan_from_json
from musabi.job.planner import convert_step
from musabi.job.record import (
    BEAT_SECONDS,
    ProducedFile,
    RunFolder,
    RunState,
    StepOutcome,
    own_process,
)
from musabi.job.states import LORA_IN_STATE, State, choose, find_states, prune_of
from musabi.whole import read_json, write_text

READ_SECONDS = 0.25
HARVEST_SECONDS = 1.0
SAVE_ON_STOP_SECONDS = 300.0
TAIL_CHARACTERS = 20_000


@dataclass(frozen=True)
class StopRequest:
    """Someone wants the run to end; `after_save` waits for the next state."""

    after_save: bool = False
    signal: int = signal.SIGTERM


@dataclass(frozen=True)
class Ending:
    """Why the runner itself ends a step, and whether the trainer is given the time to save its state."""

    failure: Failure
    save: bool = False


@dataclass
class Running:
    """A step at work: its child, what reads its output, and the end of that.

    `taken_along`: it was ended because the step beside it failed.
    """

    step: Step
    child: Child
    parser: OutputParser
    tail: str = ""
    code: int | None = None
    taken_along: bool = False


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
        self.states_saved = 0
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
        return code

    def _all_steps(self) -> ExitCode:
        _require_room(self.job.output_dir, self.plan.disk_bytes)
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
        self._emit(Event(phase=step.name, message=f"{step.title}: skipped, {why}"))
        return True

    def _both(self, pairs: Sequence[tuple[Step, StepOutcome]]) -> ExitCode | None:
        """Run steps at the same time; return an exit code where the run ends with them."""
        for step, outcome in pairs:
            self._begin(step, outcome)
        ended = self._supervise([step for step, _ in pairs])
        failures = [self._finish(*pair, result) for pair, result in zip(pairs, ended, strict=True)]
        if self.stop is not None and any(outcome.state == "stopped" for _, outcome in pairs):
            return self._stopped()
        for (_, outcome), failure in zip(pairs, failures, strict=True):
            if failure is not None:
                return self._failed(outcome, failure)
        return None

    def _failed(self, outcome: StepOutcome, failure: Failure) -> ExitCode:
        outcome.state, outcome.message = "failed", failure.message
        outcome.cause, outcome.retry = failure.cause, failure.retry
        return self._end(RunState.FAILED, failure.exit_code, failure.message)

    def _one_step(self, step: Step, outcome: StepOutcome) -> ExitCode | None:
        """Run one step, again with less memory where that helps; return an exit code where the run ends with it."""
        failure = self._try(step, outcome)
        for number, fallback in enumerate(self.plan.fallbacks, 1):
            if failure is None or not retry.helps(failure, step, self.states_saved):
                break
            if not self.job.auto_retry:
                failure = retry.with_advice(failure, fallback)
                break
            said = retry.what_next(fallback, number, len(self.plan.fallbacks))
            outcome.tries.append(said)
            self._emit(Event(phase=step.name, message=said))
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
        outcome.state, outcome.started, outcome.argv = "running", time.time(), list(step.argv)
        self.folder.save(self.record)
        self._emit(Event(phase=step.name, message=step.title))

    def _finish(self, step: Step, outcome: StepOutcome, ended: Running) -> Failure | None:
        """Note how a step ended; return why it failed, or None where it is done or was stopped."""
        code = ended.code or 0
        outcome.exit_code, outcome.ended = code, time.time()
        self._collect(step, final=True)
        if step.name == "train":
            self._converted(self.conversions.finish())
        if self.ending is not None:
            return self.ending.failure
        if code == 0:
            self._name_output(step)
            outcome.state = "done"
            self.folder.save(self.record)
            return None
        if self.stop is not None or ended.taken_along:
            outcome.state = "stopped"
            return None
        return self.engine.explain(step, code, ended.tail)

    def _supervise(self, steps: Sequence[Step]) -> list[Running]:
        """Run children to their ends; return each with its exit code and the end of its output.

        Where one fails, or the run is to end, the others are ended too.
        """
        running = [
            Running(step, Child(step.argv, os.environ | step.env, step.cwd), self.engine.parser(step))
            for step in steps
        ]
        next_harvest, next_beat = 0.0, 0.0
        try:
            with self.folder.log_file.open("a", encoding="utf-8") as log:
                while any(one.code is None for one in running):
                    for one in running:
                        self._listen(one, log.write, READ_SECONDS / len(running))
                    log.flush()
                    if time.monotonic() >= next_harvest:
                        for one in running:
                            self._collect(one.step, final=False)
                            self._look_at_room(one.step)
                        self._convert()
                        next_harvest = time.monotonic() + HARVEST_SECONDS
                    if time.monotonic() >= next_beat:
                        with contextlib.suppress(OSError):  # a full disk must not end the run
                            self.folder.beat()
                        next_beat = time.monotonic() + BEAT_SECONDS
                    self._look_for_stop()
                    if self._must_end_now() or any(one.code for one in running):
                        for one in running:
                            if one.code is None:
                                one.taken_along = not self._must_end_now()
                                one.code = self._end_child(one.child, one.step, one.parser, log.write)
        finally:
            for one in running:
                one.child.close()
        return running

    def _listen(self, one: Running, log: Callable[[str], object], seconds: float) -> None:
        """Take what a child wrote within `seconds`, and note whether it has ended."""
        if one.code is not None:
            return
        one.code = one.child.poll()
        if one.code is not None:
            return
        text = one.child.read(seconds)
        log(text)
        one.tail = (one.tail + text)[-TAIL_CHARACTERS:]
        for event in one.parser.feed(text):
            self._take(event)

    def _convert(self) -> None:
        """Look after the conversions of checkpoints."""
        self._converted(self.conversions.advance())

    def _converted(self, files: Sequence[Path]) -> None:
        for path in files:
            self._take(Event(phase="convert", kind="converted", file=str(path)))
        for source, said in self.conversions.failed.items():
            if source not in self.told:
                self.told.add(source)
                self._emit(
                    Event(
                        phase="convert",
                        message=f"{source.name} was not converted: {said} Once that is mended: musabi convert {source}",
                    )
                )

    def _end_child(self, child: Child, step: Step, parser: OutputParser, log: Callable[[str], object]) -> int:
        """End the child; an engine that saves on stop gets the time it needs for that."""
        if self.ending is not None and not self.ending.save:
            child.kill()  # asked to end, it might save what is of no use, or what does not fit
            return child.end()
        if not (self.engine.saves_on_stop and step.name == "train"):
            return child.end()
        child.terminate()
        deadline = time.monotonic() + SAVE_ON_STOP_SECONDS
        while (code := child.poll()) is None and time.monotonic() < deadline:
            text = child.read(READ_SECONDS)
            log(text)
            for event in parser.feed(text):
                self._take(event)
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
            self._produced([produced(event.kind, Path(event.file), event.epoch, event.step)])
        self._emit(event)
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
            self._emit(
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
        size = save_room.sizes(self.record.files, self.plan)
        steps = save_room.coming_steps(self.plan.schedule, self.last_step)
        coming = save_room.Coming(steps, len(self._states()), self.job.keep_last_states)
        free = shutil.disk_usage(self.job.output_dir).free
        fit = save_room.saves_that_fit(free, size, coming)
        if fit == len(steps):
            return
        if free < size.surely and save_room.is_near(self.last_step, steps[0], self.s_per_step):
            self._end_for_room(size)
        elif self.saves_warned_of is None or fit < self.saves_warned_of:
            self.saves_warned_of = fit
            self._emit(Event(phase=step.name, message=save_room.warning(free, size, fit, coming)))

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

    def _collect(self, step: Step, *, final: bool) -> None:
        files = harvest(step, self.job.output_dir, self.job.output_name, final=final)
        if final:
            files += place_pictures(step)
        self._produced(files)
        for file in files:
            self._emit(
                Event(phase=step.name, kind=file.kind, file=str(file.path), epoch=file.epoch, step=file.step)
            )

    def _name_output(self, step: Step) -> None:
        if step.output is None:
            return
        written, final = step.output
        written.replace(final)
        self._take(Event(phase=step.name, kind="converted", file=str(final)))

    def _produced(self, files: Sequence[ProducedFile]) -> None:
        """Note finished files. Every checkpoint, state, sample and converted file comes by here once, when whole."""
        if not files:
            return
        for file in files:
            if file.kind == "checkpoint":
                self.conversions.add(file.path)
        known = {file.path: file for file in self.record.files}
        self.record.files = list((known | {file.path: file for file in files}).values())
        if any(file.kind == "state" for file in files):
            self.states_saved += 1
            self._require_numbers(files)
            # The state at the end comes before the last LoRA, which is a moment away and ends the step.
            last = f"{self.job.output_name}-state"
            between = any(file.kind == "state" and file.path.name != last for file in files)
            if between and self.stop is not None and self.stop.after_save:
                self.stop = replace(self.stop, after_save=False)
        if any(file.kind in ("state", "checkpoint") for file in files):
            self._prune_states()
        self.folder.save(self.record)

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

    def _emit(self, event: Event) -> None:
        with self.folder.events_file.open("a", encoding="utf-8") as file:
            file.write(event.to_json() + "\n")

    def _end(self, state: RunState, code: ExitCode, message: str | None) -> ExitCode:
        self.record.state, self.record.exit_code = state, int(code)
        self.record.message, self.record.ended = message, time.time()
        for outcome in self.record.steps:
            if outcome.state == "running":
                outcome.state, outcome.ended = state.value, self.record.ended
        with contextlib.suppress(OSError):  # a full disk; what follows the run must still happen
            self.folder.save(self.record)
            self._emit(Event(phase="run", kind=state.value, message=message))
        return code


FILE_KINDS = frozenset({"checkpoint", "state", "sample", "converted"})


def groups(steps: Sequence[Step], outcomes: Sequence[StepOutcome]) -> list[list[tuple[Step, StepOutcome]]]:
    """Return the steps in the order in which they run, those together that may run at the same time."""
    made: list[list[tuple[Step, StepOutcome]]] = []
    for step, outcome in zip(steps, outcomes, strict=True):
        if step.beside and made:
            made[-1].append((step, outcome))
        else:
            made.append([(step, outcome)])
    return made


def prepare_files(step: Step) -> None:
    """Remove stale files, write the stamps that say what the new ones are made from, clear the staging."""
    for path in step.discard:
        path.unlink(missing_ok=True)
    if step.output is not None:
        step.output[1].parent.mkdir(parents=True, exist_ok=True)
    for path, text in step.stamp:
        write_text(path, text)
    clear_staging(step)


def produced(kind: str, path: Path, epoch: int | None, step: int | None) -> ProducedFile:
    """Return the record of a finished file or folder, its size summed in bytes."""
    files = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
    size = sum(part.stat().st_size for part in files)
    return ProducedFile(kind=kind, path=path, size=size, epoch=epoch, step=step, made=time.time())


def plain_os_error(problem: OSError) -> str:
    """Return an operating-system error as a sentence with its mend."""
    where = problem.filename or "a file"
    mends = {
        "No space left on device": "Free some space or give the volume more, then go on with --resume.",
        "Read-only file system": "Choose a folder that can be written to.",
        "Permission denied": "Choose a folder that you may write to.",
    }
    reason = problem.strerror or str(problem)
    return f"{where}: {reason}. {mends.get(reason, 'Look at the log for more.')}"


def _require_room(folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise MachineError(
            f"{folder} has {free / 1e6:,.0f} MB free, but this run will write {needed / 1e6:,.0f} MB. "
            f"Free {(needed - free) / 1e6:,.0f} MB, or keep fewer states and checkpoints."
        )
