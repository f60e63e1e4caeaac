"""Going on with an earlier run: which state to take, and whether anything is left to do."""

import re
from dataclasses import dataclass
from pathlib import Path

from musabi.commands.running import numbered_name
from musabi.commands.show import say
from musabi.errors import RequestError
from musabi.job.engine import Engine
from musabi.job.facts import Facts
from musabi.job.harvest import collect_left_behind
from musabi.job.launch import require_ended
from musabi.job.model import Job
from musabi.job.plan import ResumePoint
from musabi.job.planner import is_trained
from musabi.job.record import RunFolder, RunRecord, RunState, readable_runs
from musabi.job.states import State, choose, find_states
from musabi.settings import Settings
from musabi.whole import is_whole_safetensors


@dataclass(frozen=True)
class Left:
    """What is left of a job: nothing (`done` is the run that did it), the rest from `point`, or all of it."""

    done: RunRecord | None = None
    point: ResumePoint | None = None
    earlier: RunRecord | None = None


def what_is_left(settings: Settings, job: Job, facts: Facts, trainer: Engine, *, whole: bool = False) -> Left:
    """Return what is left to do of this very job: the same settings on the same dataset.

    `whole`: there is more to do when its training is done.
    """
    folder = newest_training(settings.space.runs, job.output_name)
    if folder is None:
        return Left()
    record = folder.load()
    if record.job != job.model_dump(mode="json") or record.dataset_fingerprint != facts.dataset.fingerprint:
        return Left()
    if record.state is RunState.DONE:
        whole = all(file.path.exists() for file in record.files if file.kind == "checkpoint")
        return Left(done=record) if whole else Left()
    require_ended(settings.space.runs, job.output_name)
    point = newest_state(job, trainer, record)
    if point is not None and point.step >= record.legs[-1].steps and not whole:
        return Left(done=record)  # killed between its last file and its last word
    return Left(point=point, earlier=record) if point else Left()


def resume_point(
    settings: Settings, job: Job, facts: Facts, trainer: Engine, *, collect: bool = True
) -> tuple[ResumePoint, RunRecord]:
    """Return the newest whole state of the newest run of this name, and that run; `collect` as newest_state.

    Raises:
        RequestError: there is no run of this name, it is finished, or it left no whole state.
    """
    folder = newest_training(settings.space.runs, job.output_name)
    if folder is None:
        raise RequestError(
            f"There is no run of {job.output_name} to go on with. Start one without --resume, "
            "or set OUTPUT_NAME to the name it was started with."
        )
    earlier = folder.load()
    require_ended(settings.space.runs, job.output_name)
    point = newest_state(job, trainer, earlier, collect=collect)
    if point is None:
        raise RequestError(
            f"{earlier.id} left no whole state in {job.output_dir}, so there is nothing to go on from. "
            "Start it again with --overwrite."
        )
    if earlier.dataset_fingerprint and earlier.dataset_fingerprint != facts.dataset.fingerprint:
        say("Note: the dataset changed since this run was started. It goes on with the dataset as it is now.")
    return point, earlier


def newest_state(
    job: Job, trainer: Engine, earlier: RunRecord, *, collect: bool = True
) -> ResumePoint | None:
    """Return the newest whole state that `earlier`, or a run that it went on from, left behind.

    `collect`: first move what a killed runner left in its staging folder; a dry run only looks.

    musubi-tuner saves the state at the end before the LoRA. Killed in between, it left a state that nothing
    can follow and no LoRA: such a run goes on from the state before.
    """
    if collect:
        collect_left_behind(earlier)
    states = find_states(job.output_dir, job.output_name, earlier.legs)
    useful = [
        state for state in states if state.path.name != f"{job.output_name}-state" or _has_lora(job, state)
    ]
    return choose(useful, earlier.lineage_started, trainer.state_is_whole)


def _has_lora(job: Job, state: State) -> bool:
    """Tell whether the LoRA of a run's end is there, under its own name or, trained on, its epoch's."""
    names = (f"{job.output_name}.safetensors", f"{job.output_name}-{state.epoch:06d}.safetensors")
    return any(is_whole_safetensors(job.output_dir / name) for name in names)


def loras_of(
    job: Job, facts: Facts, trainer: Engine, point: ResumePoint, earlier: RunRecord
) -> tuple[Path, ...]:
    """Return the LoRAs that the run to go on from left up to its newest state, oldest first.

    Raises:
        RequestError: all of the run was done, and no more epochs are asked for.
    """
    over = is_trained(job, facts, trainer, point)
    if over and earlier.state is RunState.DONE:
        raise RequestError(
            f"{earlier.id} is done, all {point.step} steps of it. "
            "Raise MAX_TRAIN_EPOCHS to train longer, or take the LoRA as it is."
        )
    pattern = re.compile(re.escape(job.output_name) + r"-(\d{6})\.safetensors")
    found = {
        int(match[1]): path for path in job.output_dir.iterdir() if (match := pattern.fullmatch(path.name))
    }
    kept = [
        path
        for epoch, path in sorted(found.items())
        if epoch <= point.epoch and path.stat().st_mtime >= earlier.lineage_started
    ]
    final = job.output_dir / f"{job.output_name}.safetensors"
    if earlier.trained and final.exists():
        kept.append(final if over else numbered_name(final, earlier))
    return tuple(dict.fromkeys(kept))


def newest_training(folder: Path, output_name: str) -> RunFolder | None:
    """Return the newest run of that name that trains (not one that only cached)."""
    for run, record in readable_runs(folder):
        if record.job.get("output_name") == output_name and record.plan.get("schedule"):
            return run
    return None
