"""Cells that start a run, or look on at the one that goes on: prepare, train, stop_run."""

from musabi.commands.waiting import wait_for_bootstrap
from musabi.errors import RequestError
from musabi.job.model import Job
from musabi.job.record import RunFolder, RunRecord, going_on
from musabi.notebook.chosen import settings
from musabi.notebook.looking import look_on
from musabi.notebook.output import say
from musabi.notebook.plain import cell
from musabi.notebook.verbs import ask, begin
from musabi.recipes import make_job


@cell
def prepare(allow_missing_captions: bool = False) -> None:
    """Check the dataset and cache its latents and captions. What is still right is kept.

    Example: musabi.prepare()
    """
    going = running()
    if going is not None:
        if _is_training(_ours(going)):
            say(f"{going.path.name} goes on already, and it prepared what it needs.")
        else:
            look_on(going)
        return
    wait_for_bootstrap(settings(), make_job(settings()), dit=False)
    run = begin("prepare", *_captions(allow_missing_captions))
    if run is not None:
        look_on(run)


@cell
def train(
    optimizer: str = "prodigy", *, overwrite: bool = False, allow_missing_captions: bool = False
) -> None:
    """Train a LoRA and look on. Running the cell again looks on at the run that goes on, or does what is left.

    The run outlives this cell, its tab and its kernel. `overwrite` moves an earlier LoRA of this name aside.

    Example: musabi.train("prodigy")
    """
    job = make_job(settings(), optimizer)
    going = running()
    if going is not None and not _is_training(_ours(going)):
        look_on(going)
        going = None
    if going is not None:
        _tell_changes(going, job)
        say(f"{going.path.name} goes on already: looking on.")
        look_on(going)
        return
    wait_for_bootstrap(settings(), job, dit=True)
    words = ["train", "--optimizer", optimizer, "--detach", *_captions(allow_missing_captions)]
    run = begin(*words, "--overwrite" if overwrite else "--continue")
    if run is None:
        say(f"This very training is done already: {job.output_dir / job.output_name}.safetensors")
    else:
        look_on(run)


@cell
def stop_run(after_save: bool = False) -> None:
    """End the run that goes on; `after_save` waits for the next saved state, so that no step is lost.

    Example: musabi.stop_run(after_save=True)
    """
    going = running()
    if going is None:
        say("Nothing is running.")
        return
    answer = ask("stop", *(["--after-save"] if after_save else []))
    say(answer.get("message") or f"{going.path.name} ended.")


def running() -> RunFolder | None:
    """Return the newest run that goes on in this workspace, or None."""
    going = going_on(settings().space.runs)
    return going[-1] if going else None


def _captions(allow_missing: bool) -> list[str]:
    return ["--allow-missing-captions"] if allow_missing else []


def _ours(going: RunFolder) -> RunRecord:
    """Return the record of a run that goes on under our OUTPUT_NAME.

    Raises:
        RequestError: it goes on under another name.
    """
    record = going.load()
    if record.job.get("output_name") != settings().output_name:
        raise RequestError(
            f"{record.id} is running, and a GPU takes one run at a time. "
            "Wait for its end, or end it with musabi.stop_run()."
        )
    return record


def _is_training(record: RunRecord) -> bool:
    return bool(record.plan.get("schedule"))


def _tell_changes(going: RunFolder, job: Job) -> None:
    before, now = going.load().job, job.model_dump(mode="json")
    changed = sorted(name.upper() for name in now if now[name] != before.get(name))
    if changed:
        say(f"Changed since it was started, and not in force for it: {', '.join(changed)}.")
