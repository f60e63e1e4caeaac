"""Carrying a plan out from the command line: start, look on, Ctrl-C, resume, outcome."""

import os
import sys
import time
from pathlib import Path

import typer

from musabi import __version__
from musabi.commands.ending import announce, at_the_end
from musabi.commands.show import record_as_text, say, say_json
from musabi.commands.view import watch
from musabi.errors import ExitCode, RequestError
from musabi.job.engine import Engine
from musabi.job.facts import Facts
from musabi.job.launch import (
    After,
    ask_to_stop,
    new_run_folder,
    one_start_at_a_time,
    require_idle,
    start_detached,
)
from musabi.job.model import Job
from musabi.job.plan import Plan
from musabi.job.preflight import existing_outputs, require_writable
from musabi.job.record import RunFolder, RunRecord, RunState, newest_run
from musabi.job.runner import new_record
from musabi.settings import Settings


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
        RequestError: another run goes on, or files of this name are there already.
        MachineError: the output folder can't be written to.
        typer.Exit: the run did not end well; its message was printed.
    """
    require_writable(job.output_dir, "OUTPUT_DIR")
    require_writable(job.logging_dir, "LOGGING_DIR")
    trains = plan.schedule is not None
    followed = trains and announce(settings, quiet=as_json)
    with one_start_at_a_time(settings.space.runs):
        require_idle(settings.space.runs)
        if plan.schedule is not None and earlier is None:
            make_way(job, overwrite=overwrite)
        if earlier is not None and any(step.name == "train" for step in plan.steps):
            number_final(job, earlier)
        folder = new_run_folder(settings.space.runs, job.output_name)
        record = new_record(
            folder.path.name,
            job,
            plan,
            versions=versions(job, facts),
            dataset_fingerprint=facts.dataset.fingerprint,
            **lineage(plan, earlier),
        )
        pid = start_detached(folder, record, trainer, at_the_end(settings, after) if trains else after)
    if detach:
        say_json({"run": record.id, "folder": str(folder.path)}) if as_json else say(
            f"Started {record.id}. Watch it with: musabi logs -f"
        )
        return record
    # What follows a run may take long, and nobody has to wait for it here.
    return look_on(folder, pid=None if followed else pid, as_json=as_json)


def look_on(folder: RunFolder, *, pid: int | None = None, as_json: bool = False) -> RunRecord:
    """Show a run until it ends; print what came of it. Ctrl-C asks which is meant.

    Raises:
        typer.Exit: the run failed, was stopped, or was left to itself.
    """
    while True:
        try:
            record = folder.load() if as_json and _wait(folder) else watch(folder)
            break
        except KeyboardInterrupt:
            _ask_which(folder)
    if pid is not None:
        _reap(pid)
    say_json(record.model_dump(mode="json")) if as_json else say(record_as_text(record))
    if record.state is not RunState.DONE:
        raise typer.Exit(record.exit_code if record.exit_code is not None else ExitCode.TRAINER_FAILED)
    return record


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
    aside = job.output_dir / "replaced" / time.strftime("%Y%m%d-%H%M%S")
    aside.mkdir(parents=True)
    for path in (*there, *existing_outputs(job, "comfyui")):
        place = aside / path.relative_to(job.output_dir)
        place.parent.mkdir(exist_ok=True)
        path.rename(place)
    say(f"Moved {len(there)} older files to {aside}.")


def number_final(job: Job, earlier: RunRecord) -> None:
    """Give the last LoRA of a finished run that is trained on its epoch number, so that it stays."""
    final = job.output_dir / f"{job.output_name}.safetensors"
    numbered = numbered_name(final, earlier)
    if earlier.trained and final.exists() and not numbered.exists():
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
        if name != Path(name).name or name == "..":
            raise RequestError(
                f'"{name}" is no id of a run. Take the name of a folder in {settings.space.runs}.'
            )
        named = RunFolder(settings.space.runs / name)
        named.load()
        return named
    folder = newest_run(settings.space.runs)
    if folder is None:
        raise RequestError(f"There is no run under {settings.space.runs} yet. Start one with: musabi train.")
    return folder


def _ask_which(folder: RunFolder) -> None:
    """Ctrl-C: stop the training, or leave it running. A second Ctrl-C leaves it running."""
    left = f"{folder.path.name} goes on. Watch it with: musabi logs -f. End it with: musabi stop."
    try:
        if not sys.stdin.isatty():
            raise KeyboardInterrupt
        answer = input("\nStop the run (s), or leave it running and close this view (Enter)? ")
    except (KeyboardInterrupt, EOFError):
        say(f"\n{left}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if answer.strip().lower() not in ("s", "stop"):
        say(left)
        raise typer.Exit(ExitCode.INTERRUPTED)
    ask_to_stop(folder)
    say("Stopping.")


def _wait(folder: RunFolder) -> bool:
    while folder.load().state in (RunState.PLANNED, RunState.RUNNING):
        time.sleep(0.2)
    return True


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return
