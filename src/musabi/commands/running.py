"""Carrying plans out from the command line: start, look on, Ctrl-C, resume, outcome."""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from musabi import __version__
from musabi.commands.ending import announce, at_the_end, note_what_follows
from musabi.commands.show import record_as_text, say, say_json
from musabi.commands.view import watch
from musabi.commands.view_several import watch_all
from musabi.errors import ExitCode, RequestError
from musabi.job.claims import claim_of
from musabi.job.engine import Engine
from musabi.job.facts import Facts
from musabi.job.gpus import VISIBLE, numbers
from musabi.job.launch import (
    After,
    ask_to_stop,
    new_run_folder,
    one_start_at_a_time,
    require_free,
    start_detached,
)
from musabi.job.model import Job
from musabi.job.new_run import new_record
from musabi.job.plan import Plan
from musabi.job.preflight import existing_outputs, require_writable
from musabi.job.record import GOING_ON, RunFolder, RunRecord, RunState, going_on, newest_run
from musabi.settings import Settings
from musabi.stamped import stamped_folder

BY_WEIGHT = (
    ExitCode.DONE,
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.WRONG_REQUEST,
    ExitCode.MACHINE_CANNOT,
    ExitCode.TRAINER_FAILED,
)


@dataclass(frozen=True)
class Start:
    """A run to start: what it does, and what happens to it before and after."""

    settings: Settings
    job: Job
    plan: Plan
    facts: Facts
    earlier: RunRecord | None = None
    overwrite: bool = False
    after: After | None = None

    @property
    def trains(self) -> bool:
        return self.plan.schedule is not None


@dataclass(frozen=True)
class Started:
    """A run that was started, and the process that carries it out."""

    folder: RunFolder
    record: RunRecord
    pid: int


def run_plan(
    settings: Settings,
    job: Job,
    plan: Plan,
    facts: Facts,
    trainer: Engine,
    *,
    earlier: RunRecord | None = None,
    overwrite: bool = False,
    detach: bool = False,
    as_json: bool = False,
    after: After | None = None,
) -> RunRecord:
    """Start the plan in a process of its own and look on until it ends.

    Raises:
        InTheWay: a run that goes on has what this one needs.
        RequestError: files of this name are there already.
        MachineError: the output folder can't be written to.
        typer.Exit: the run did not end well; its message was printed.
    """
    start = Start(settings, job, plan, facts, earlier, overwrite, after)
    return run_start(start, trainer, detach=detach, as_json=as_json)


def run_start(start: Start, trainer: Engine, *, detach: bool = False, as_json: bool = False) -> RunRecord:
    """Start a run in a process of its own and look on until it ends; raises as run_plan."""
    followed = start.trains and announce(start.settings, quiet=as_json)
    started = start_runs((start,), trainer)[0]
    if detach:
        told = {"run": started.record.id, "folder": str(started.folder.path)}
        which = _which(start.settings, started.folder)
        say_json(told) if as_json else say(
            f"Started {started.record.id}. Watch it with: musabi logs -f{which}"
        )
        return started.record
    # What follows a run may take long, and nobody has to wait for it here.
    return look_on(started.folder, pid=None if followed else started.pid, as_json=as_json)


def start_runs(starts: Sequence[Start], trainer: Engine) -> list[Started]:
    """Start these runs, or none of them: what is in the way of one keeps all of them.

    Raises:
        InTheWay: a run that goes on has what one of them needs.
        RequestError: files of such a name are there already.
        MachineError: an output folder can't be written to.
    """
    for start in starts:
        require_writable(start.job.output_dir, "OUTPUT_DIR")
        require_writable(start.job.logging_dir, "LOGGING_DIR")
    runs = starts[0].settings.space.runs
    with one_start_at_a_time(runs):
        records = [_record(start, trainer) for start in starts]
        claims = [claim_of(record) for record in records]
        for number, claim in enumerate(claims):
            require_free(runs, claim, beside=claims[:number])
        for start in starts:
            _make_room(start)
        return [_start(*pair, trainer) for pair in zip(starts, records, strict=True)]


def _record(start: Start, trainer: Engine) -> RunRecord:
    return new_record(
        start.job.output_name,
        start.job,
        start.plan,
        versions=versions(start.job, start.facts),
        dataset_fingerprint=start.facts.dataset.fingerprint,
        gpus=gpus_of(start, trainer),
        **lineage(start.plan, start.earlier),
    )


def gpus_of(start: Start, trainer: Engine) -> list[int]:
    """Return the numbers of the GPUs that a run uses: caching takes one, as does an engine that trains on one."""
    visible = (os.environ | start.facts.environment).get(VISIBLE)
    used = trainer.processes(start.facts) if start.trains else 1
    return list(numbers(len(start.facts.machine.gpus), visible)[:used])


def _make_room(start: Start) -> None:
    """See to the files of an earlier run of this name."""
    if start.trains and start.earlier is None:
        make_way(start.job, overwrite=start.overwrite)
    if start.earlier is not None and any(step.name == "train" for step in start.plan.steps):
        number_final(start.job, start.earlier)


def _start(start: Start, record: RunRecord, trainer: Engine) -> Started:
    folder = new_run_folder(start.settings.space.runs, start.job.output_name)
    record.id = folder.path.name
    after = at_the_end(start.settings, start.after) if start.trains else start.after
    if start.trains:
        note_what_follows(start.settings, folder)
    return Started(folder, record, start_detached(folder, record, trainer, after))


def look_on(folder: RunFolder, *, pid: int | None = None, as_json: bool = False) -> RunRecord:
    """Show a run until it ends; print what came of it. Ctrl-C asks which is meant.

    Raises:
        typer.Exit: the run failed, was stopped, or was left to itself.
    """
    while True:
        try:
            if as_json:
                wait_for_all((folder,))
            else:
                watch(folder)
            record = folder.load()
            break
        except KeyboardInterrupt:
            _ask_which((folder,))
    if pid is not None:
        _reap(pid)
    say_json(record.model_dump(mode="json")) if as_json else say(record_as_text(record))
    if record.state is not RunState.DONE:
        raise typer.Exit(exit_code_of(record))
    return record


def look_on_all(folders: Sequence[RunFolder], *, as_json: bool = False) -> list[RunRecord]:
    """Show several runs until all have ended; print what came of them. Ctrl-C asks which is meant.

    Raises:
        typer.Exit: one failed, was stopped, or was left to itself; the code is the worst of them.
    """
    while True:
        try:
            if as_json:
                wait_for_all(folders)
            else:
                watch_all(folders)
            break
        except KeyboardInterrupt:
            _ask_which(folders)
    records = [folder.load() for folder in folders]
    if as_json:
        say_json({"runs": [record.model_dump(mode="json") for record in records]})
    else:
        say("\n".join(map(record_as_text, records)))
    code = worst(exit_code_of(record) for record in records)
    if code:
        raise typer.Exit(code)
    return records


def exit_code_of(record: RunRecord) -> int:
    """Return the exit code that a run which has ended means."""
    if record.state is RunState.DONE:
        return ExitCode.DONE
    return record.exit_code if record.exit_code is not None else ExitCode.TRAINER_FAILED


def worst(codes: Iterable[int]) -> int:
    """Return the worst of several exit codes: a failure counts for more than a stop that was asked for."""
    return max(codes, key=lambda code: BY_WEIGHT.index(code) if code in BY_WEIGHT else len(BY_WEIGHT))


def make_way(job: Job, *, overwrite: bool) -> None:
    """Refuse to replace files of an earlier run, or move them aside where that was asked for.

    Raises:
        RequestError: there are such files and `overwrite` is not set.
    """
    there = existing_outputs(job)
    if not there:
        return
    if not overwrite:
        raise RequestError(
            f"{there[0]} is there already. Choose another OUTPUT_NAME, go on with --resume, "
            "or start anew with --overwrite (the old files are moved to replaced/)."
        )
    replaced = job.output_dir / "replaced"
    aside = stamped_folder(replaced, "", f"{replaced} has too many folders of one second. Start again.")
    for path in (*there, *existing_outputs(job, "comfyui")):
        place = aside / path.relative_to(job.output_dir)
        place.parent.mkdir(exist_ok=True)
        path.rename(place)
    say(f"Moved {len(there)} older files to {aside}.")


def number_final(job: Job, earlier: RunRecord) -> None:
    """Give the last LoRA of a finished run that is trained on its epoch number, so that it stays.

    Its converted twin goes with it, so that no older LoRA is left under the new one's name.
    """
    if not earlier.trained:
        return
    for folder in (job.output_dir, job.output_dir / "comfyui"):
        final = folder / f"{job.output_name}.safetensors"
        numbered = numbered_name(final, earlier)
        if final.exists() and not numbered.exists():
            final.rename(numbered)


def numbered_name(final: Path, earlier: RunRecord) -> Path:
    """Return the name that the last LoRA of a run has once the run is trained on."""
    return final.with_name(f"{final.stem}-{earlier.legs[-1].epochs:06d}.safetensors")


def versions(job: Job, facts: Facts) -> dict[str, str]:
    """Return the versions that a run record keeps."""
    tiny = (job.dit.parent.parent / "tiny.json").exists()
    known = {
        "musabi": __version__,
        "python": sys.version.split()[0],
        "torch": facts.trainer.torch or installed_version("torch"),
        "musubi-tuner": facts.trainer.commit,
        "image": os.environ.get("MUSABI_IMAGE", ""),
        "gpu": facts.machine.gpu_name,
        "base weights": "tiny, made by musabi models make-tiny" if tiny else "",
    }
    return {name: value for name, value in known.items() if value}


def lineage(plan: Plan, earlier: RunRecord | None) -> dict[str, object]:
    """Return the record's fields that tie a resumed run to the one it goes on from."""
    if earlier is None or plan.resume is None:
        return {}
    return {
        "resumed_from": earlier.id,
        "legs": earlier.legs,
        "start_step": plan.resume.step,
        "start_epoch": plan.resume.epoch,
    }


def installed_version(package: str) -> str:
    """Return the version of a package of this environment, or nothing where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def newest_or_named(settings: Settings, name: str | None) -> RunFolder:
    """Return the run of that id, or the newest one.

    Raises:
        RequestError: there is none.
    """
    if name:
        return _named(settings, name)
    folder = newest_run(settings.space.runs)
    if folder is None:
        raise RequestError(f"There is no run under {settings.space.runs} yet. Start one with: musabi train.")
    return folder


def going_or_named(settings: Settings, name: str | None) -> RunFolder:
    """Return the run of that id, or the newest that goes on, or where none does the newest.

    Raises:
        RequestError: there is none.
    """
    running = [] if name else going_on(settings.space.runs)
    return running[-1] if running else newest_or_named(settings, name)


def _named(settings: Settings, name: str) -> RunFolder:
    if name != Path(name).name or name == "..":
        raise RequestError(f'"{name}" is no id of a run. Take the name of a folder in {settings.space.runs}.')
    named = RunFolder(settings.space.runs / name)
    named.load()
    return named


def _which(settings: Settings, folder: RunFolder) -> str:
    """Return the option that names a run, where several go on."""
    return f" --run {folder.path.name}" if len(going_on(settings.space.runs)) > 1 else ""


def _ask_which(folders: Sequence[RunFolder]) -> None:
    """Ctrl-C: stop the training, or leave it running. A second Ctrl-C leaves it running."""
    names, several = " and ".join(folder.path.name for folder in folders), len(folders) > 1
    left = f"{names} go on. Watch them with: musabi status. End them with: musabi stop --all."
    if not several:
        left = f"{names} goes on. Watch it with: musabi logs -f. End it with: musabi stop."
    what, them = ("runs", "them") if several else ("run", "it")
    try:
        if not sys.stdin.isatty():
            raise KeyboardInterrupt
        answer = input(f"\nStop the {what} (s), or leave {them} running and close this view (Enter)? ")
    except (KeyboardInterrupt, EOFError):
        say(f"\n{left}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if answer.strip().lower() not in ("s", "stop"):
        say(left)
        raise typer.Exit(ExitCode.INTERRUPTED)
    for folder in folders:
        ask_to_stop(folder)
    say("Stopping.")


def wait_for_all(folders: Sequence[RunFolder]) -> None:
    """Wait until runs have ended."""
    while any(folder.load().state in GOING_ON for folder in folders):
        time.sleep(0.2)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return
