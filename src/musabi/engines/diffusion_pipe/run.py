"""`python -m musabi.engines.diffusion_pipe.run FOLDER`: carry out FOLDER/pipe.json, or go on with it.

FOLDER is a job's folder; everything happens in FOLDER/workspace. A run folder under runs/ says how it stands, as for
every trainer; LoRAs come to output/. Started again, it goes on from the newest whole state, and ends at once where
all is done. One JSON object on stdout says what came of it. Exit codes: 0 done, 2 the job is wrong, 3 the machine
can't, 4 the trainer failed, 130 and 143 stopped with the state saved.
"""

import json
import os
import sys
import time
from pathlib import Path

from musabi.engines.diffusion_pipe.carrier import Carrier
from musabi.engines.diffusion_pipe.config import DATASET, ROOT, config_toml, dataset_toml
from musabi.engines.diffusion_pipe.job import PipeJob, read_job
from musabi.engines.diffusion_pipe.places import PipePlaces
from musabi.engines.diffusion_pipe.results import take
from musabi.engines.diffusion_pipe.states import State, finished_models, newest_state, prepare, trainings
from musabi.engines.diffusion_pipe.trainer import (
    MARK,
    TERM_SECONDS,
    Trainer,
    command,
    environment,
    find_trainer,
    held_port,
    mark_of,
    require_configs,
)
from musabi.errors import ExitCode, MusabiError
from musabi.identity import identity
from musabi.job.launch import new_run_folder, one_start_at_a_time, require_ended
from musabi.job.marked import end_marked
from musabi.job.os_errors import plain_os_error
from musabi.job.plan import Plan, Schedule, Step, plan_as_json
from musabi.job.record import Leg, RunFolder, RunRecord, RunState, StepOutcome, newest_run, own_process
from musabi.whole import is_whole_safetensors, write_text
from musabi.workspace import Workspace

PICTURES_AND_CLIPS = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".mp4", ".mov", ".mkv", ".webm", ".avi")
)
TITLE = "Training with diffusion-pipe"


def main(folder: Path) -> ExitCode:
    """Carry out the job in `folder`. Return the exit code."""
    try:
        return carry_out(folder.resolve())
    except MusabiError as problem:
        return _say(problem.exit_code, error=str(problem))
    except OSError as problem:
        return _say(ExitCode.MACHINE_CANNOT, error=plain_os_error(problem))


def carry_out(folder: Path) -> ExitCode:
    """Carry out the job in `folder`, or go on with it.

    Raises:
        RequestError: the job is wrong, or it is being carried out already.
        MachineError: diffusion-pipe can't be started here.
    """
    job = read_job(folder)
    places = PipePlaces(Workspace(folder / "workspace"))
    with one_start_at_a_time(places.space.runs):
        before = newest_run(places.space.runs, job.output_name)
        old = before.load() if before is not None else None
        require_ended(places.space.runs, job.output_name)
        if before is not None and old is not None and is_done(before, old, job, places):
            return _say(ExitCode.DONE, run=before.path.name, state="done")
        trainer = find_trainer(places.checkout)
        require_configs(job, os.environ)
        end_marked(MARK, mark_of(places), TERM_SECONDS)
        bad_from = old.legs[-1].bad_from if old is not None and old.legs else None
        state = newest_state(places.trainings, bad_from)
        run = new_run_folder(places.space.runs, job.output_name)
        record = new_record(run.path.name, job, places, trainer, old if state is not None else None, state)
        run.save(record)
    code = _train(run, record, job, places, trainer, state)
    return _say(code, run=run.path.name, state=record.state.value, error=record.message)


def is_done(run: RunFolder, record: RunRecord, job: PipeJob, places: PipePlaces) -> bool:
    """Tell whether the training came to its end. Where its runner was killed just then, its record is put right.

    The LoRA of the last epoch is saved at the very end only.
    """
    output = places.space.output
    last = output / f"{job.output_name}.safetensors"
    done = (path for path in trainings(places.trainings)[:1] for path in finished_models(path))
    left = next((path for path in done if path.name == f"epoch{job.epochs}"), None)
    if left is not None and not last.exists():
        record.files.append(take(left, output, job.output_name, None, None))
    if not is_whole_safetensors(last):
        return False
    if record.state is not RunState.DONE:
        record.state, record.exit_code, record.message, record.ended = RunState.DONE, 0, None, time.time()
        record.steps[0].state, record.steps[0].message = "done", None
        run.save(record)
    return True


def _train(
    run: RunFolder, record: RunRecord, job: PipeJob, places: PipePlaces, trainer: Trainer, state: State | None
) -> ExitCode:
    """Write what diffusion-pipe reads, start it, and stay with it to its end."""
    for path in (places.trainings, places.space.output):
        path.mkdir(parents=True, exist_ok=True)
    write_text(places.config, config_toml(job, places))
    write_text(places.dataset, dataset_toml(job))
    if state is not None:
        prepare(state)
    run.log_file.touch()
    carrier = Carrier(run, record, job, places)
    with held_port() as port:
        argv = command(trainer, job, places.config, state, port)
        record.steps[0].argv, record.steps[0].state, record.steps[0].started = (
            list(argv),
            "running",
            time.time(),
        )
        record.state = RunState.RUNNING
        run.save(record)
        return carrier.run(
            argv, environment(trainer, places, os.environ), trainer.root, state.training if state else None
        )


def new_record(
    run_id: str,
    job: PipeJob,
    places: PipePlaces,
    trainer: Trainer,
    old: RunRecord | None,
    state: State | None,
) -> RunRecord:
    """Return the record of a run that has not started; `old` is the run that it goes on from."""
    per_epoch = old.legs[-1].steps_per_epoch if old is not None and old.legs else steps_per_epoch(job)
    schedule = schedule_of(job, per_epoch)
    plan = Plan(steps=(Step(name="train", title=TITLE, argv=()),), schedule=schedule)
    done = state.step if state is not None else 0
    pid, started = own_process()
    record = RunRecord(
        id=run_id,
        pid=pid,
        pid_started=started,
        container=identity(),
        job=as_of_every_engine(job, places),
        plan=plan_as_json(plan),
        versions={"diffusion-pipe": trainer.commit, "torch": trainer.torch},
        resumed_from=old.id if old is not None else None,
        legs=list(old.legs) if old is not None else [],
        start_step=done,
        start_epoch=min(done // per_epoch, job.epochs - 1),
        steps=[StepOutcome(name="train", title=TITLE, argv=[])],
        files=list(old.files) if old is not None else [],
    )
    leg = Leg(started=record.created, epochs=job.epochs, steps=schedule.steps, steps_per_epoch=per_epoch)
    record.legs.append(leg)
    return record


def schedule_of(job: PipeJob, per_epoch: int) -> Schedule:
    """Return when a training with so many steps an epoch saves and ends, as run records hold it."""
    root = ROOT | job.suited("root")
    return Schedule(
        steps_per_epoch=per_epoch,
        epochs=job.epochs,
        steps=min(per_epoch * job.epochs, root.get("max_steps", per_epoch * job.epochs)),
        warmup_steps=root["warmup_steps"],
        save_every=job.save_every_n_epochs,
        state_every=job.save_every_n_epochs,
        sample_every=None,
    )


def as_of_every_engine(job: PipeJob, places: PipePlaces) -> dict[str, object]:
    """Return the job's values under the names that readers of run records know."""
    return {
        "engine": "diffusion_pipe",
        "model": job.model_type,
        "output_name": job.output_name,
        "output_dir": str(places.space.output),
        "logging_dir": str(places.trainings),
        "sample_prompts": str(places.space.sample_prompts),
        "dataset_config": str(places.dataset),
        "network_dim": job.rank,
        "network_alpha": job.rank,
        "learning_rate": job.optimizer.get("lr"),
        "optimizer": job.optimizer.get("type"),
        "trigger": job.trigger,
    }


def steps_per_epoch(job: PipeJob) -> int:
    """Return about how many optimizer steps an epoch has; diffusion-pipe itself says so when the first one ends.

    Files x repeats x resolutions / (batch x accumulation x GPUs). Buckets that don't fill a step are left out by it.
    """
    root, dataset = ROOT | job.suited("root"), DATASET | job.suited("dataset")
    files = sum(_count(folder) * repeats for folder, repeats in job.directories)
    batch = root["micro_batch_size_per_gpu"]
    share = max(1, job.gpus // root["pipeline_stages"])
    each = (batch if isinstance(batch, int) else 1) * root["gradient_accumulation_steps"] * share
    return int(max(1, files * len(dataset["resolutions"]) // each))


def _count(folder: Path) -> int:
    try:
        return sum(path.suffix.lower() in PICTURES_AND_CLIPS for path in folder.iterdir())
    except OSError:
        return 0


def _say(code: ExitCode, **values: str | None) -> ExitCode:
    print(json.dumps({name: value for name, value in values.items() if value is not None}), flush=True)
    return code


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("Usage: python -m musabi.engines.diffusion_pipe.run FOLDER", file=sys.stderr)
        sys.exit(int(ExitCode.WRONG_REQUEST))
    sys.exit(int(main(Path(sys.argv[1]))))
