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
from musabi.job.child import Child
from musabi.job.engine import Engine, OutputParser
from musabi.job.events import Event
from musabi.job.harvest import clear_staging, harvest, place_pictures
from musabi.job.model import Job
from musabi.job.plan import Plan, Step, plan_as_json, plan_from_json
from musabi.job.record import (
    BEAT_SECONDS,
    Leg,
    ProducedFile,
    RunFolder,
    RunRecord,
    RunState,
    StepOutcome,
    own_process,
)
from musabi.job.states import find_states, prune
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
        for step, outcome in zip(self.plan.steps, self.record.steps, strict=True):
            if step.skip is not None:
                outcome.state, outcome.message = "skipped", step.skip
                self._emit(Event(phase=step.name, message=f"{step.title}: skipped, {step.skip}"))
                continue
            if self.stop is not None:
                return self._stopped()
            code = self._one_step(step, outcome)
            if code is not None:
                return code
        return self._end(RunState.DONE, ExitCode.DONE, None)

    def _one_step(self, step: Step, outcome: StepOutcome) -> ExitCode | None:
        """Run one step; return an exit code where the run ends with it."""
        prepare_files(step)
        outcome.state, outcome.started = "running", time.time()
        self.folder.save(self.record)
        self._emit(Event(phase=step.name, message=step.title))
        code, tail = self._supervise(step)
        outcome.exit_code, outcome.ended = code, time.time()
        self._collect(step, final=True)
        if code == 0:
            self._name_output(step)
            outcome.state = "done"
            self.folder.save(self.record)
            return None
        if self.stop is not None:
            outcome.state = "stopped"
            return self._stopped()
        failure = self.engine.explain(step, code, tail)
        outcome.state, outcome.message = "failed", failure.message
        return self._end(RunState.FAILED, failure.exit_code, failure.message)

    def _supervise(self, step: Step) -> tuple[int, str]:
        """Run the child to its end; return its exit code and the end of its output."""
        parser = self.engine.parser(step)
        child = Child(step.argv, os.environ | step.env, step.cwd)
        tail, next_harvest, next_beat = "", 0.0, 0.0
        try:
            with self.folder.log_file.open("a", encoding="utf-8") as log:
                while (code := child.poll()) is None:
                    text = child.read(READ_SECONDS)
                    log.write(text)
                    log.flush()
                    tail = (tail + text)[-TAIL_CHARACTERS:]
                    for event in parser.feed(text):
                        self._take(event)
                    if time.monotonic() >= next_harvest:
                        self._collect(step, final=False)
                        next_harvest = time.monotonic() + HARVEST_SECONDS
                    if time.monotonic() >= next_beat:
                        with contextlib.suppress(OSError):  # a full disk must not end the run
                            self.folder.beat()
                        next_beat = time.monotonic() + BEAT_SECONDS
                    self._look_for_stop()
                    if self._must_end_now():
                        return self._end_child(child, step, parser, log.write), tail
        finally:
            child.close()
        return code, tail

    def _end_child(self, child: Child, step: Step, parser: OutputParser, log: Callable[[str], object]) -> int:
        """End the child; an engine that saves on stop gets the time it needs for that."""
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
        return self.stop is not None and not self.stop.after_save

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
        if event.file is not None and event.kind is not None and event.kind in FILE_KINDS:
            self._produced([produced(event.kind, Path(event.file), event.epoch, event.step)])
        self._emit(event)

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
        if not files:
            return
        known = {file.path: file for file in self.record.files}
        self.record.files = list((known | {file.path: file for file in files}).values())
        if any(file.kind == "state" for file in files):
            self._prune_states()
            # The state at the end comes before the last LoRA, which is a moment away and ends the step.
            last = f"{self.job.output_name}-state"
            between = any(file.kind == "state" and file.path.name != last for file in files)
            if between and self.stop is not None and self.stop.after_save:
                self.stop = replace(self.stop, after_save=False)
        self.folder.save(self.record)

    def _prune_states(self) -> None:
        states = find_states(self.job.output_dir, self.job.output_name, self.record.legs)
        gone = set(prune(states, self.record.lineage_started, self.job.keep_last_states))
        self.record.files = [file for file in self.record.files if file.path not in gone]

    def _stopped(self) -> ExitCode:
        stop = self.stop or StopRequest()
        code = ExitCode.INTERRUPTED if stop.signal == signal.SIGINT else ExitCode.TERMINATED
        return self._end(RunState.STOPPED, code, self._what_was_lost())

    def _what_was_lost(self) -> str:
        """Name what a stop saved and what it lost, in steps."""
        if self.plan.schedule is None or self.last_step == 0:
            return "Stopped before training began. Nothing was lost."
        states = find_states(self.job.output_dir, self.job.output_name, self.record.legs)
        kept = [state for state in states if state.made >= self.record.lineage_started]
        if any(step.name == "train" and step.state == "done" for step in self.record.steps):
            left = ", ".join(
                step.title for step in self.record.steps if step.state not in ("done", "skipped")
            )
            return f"The training was done, and its LoRAs are in {self.job.output_dir}. Not done: {left}."
        at = f"Stopped at step {self.last_step} of {self.plan.schedule.steps}."
        if not kept:
            return f"{at} No state was saved yet, so {self.last_step} steps are lost."
        lost = max(0, self.last_step - kept[-1].step)
        words = "nothing is lost" if lost == 0 else f"{lost} steps since then are lost"
        return f"{at} The newest state is {kept[-1].path.name}; {words}. Go on with: musabi train --resume"

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


def outcome_of(step: Step) -> StepOutcome:
    """Return the outcome that a step has before it ran."""
    return StepOutcome(name=step.name, title=step.title, argv=list(step.argv))


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


def new_record(run_id: str, job: Job, plan: Plan, **more: object) -> RunRecord:
    """Return the record of a run that has not started."""
    values = {"job": job.model_dump(mode="json"), "plan": plan_as_json(plan)}
    record = RunRecord.model_validate({"id": run_id, "container": identity()} | values | more)
    if plan.schedule is not None:
        timing = plan.schedule
        record.legs.append(
            Leg(
                started=record.created,
                epochs=timing.epochs,
                steps=timing.steps,
                steps_per_epoch=timing.steps_per_epoch,
            )
        )
    return record


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
