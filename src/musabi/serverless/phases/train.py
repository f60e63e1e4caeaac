"""Fourth phase: the weights are there and held, and the trainer runs as a process of its own.

musubi-tuner and the embedded engine train under `musabi run job.toml --continue`, diffusion-pipe under its own
module. Both leave a run folder, which is all that is looked at here, and both end with their state saved when
stop.json is put into it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musabi.errors import TrainerError
from musabi.identity import identity
from musabi.job.launch import STOP_SECONDS, ask_to_stop
from musabi.job.record import GOING_ON, SILENT_SECONDS, RunFolder, RunState, going_on, newest_run
from musabi.serverless.context import Context, Stopped
from musabi.serverless.job_folder import end_of_log
from musabi.serverless.models.cache import held_models
from musabi.serverless.parts import JobWeights
from musabi.serverless.phases.look_on import Onlooker
from musabi.serverless.phases.trainer_ready import make_trainer_ready
from musabi.serverless.request.to_settings import job_toml
from musabi.settings import of_group
from musabi.whole import read_json, write_text

LOG_LINES = 100
UPDATE_SECONDS = 300.0
"""How often TRAINING is told to the hub, whose commits are limited to about a hundred an hour."""
POLL_SECONDS = 0.2
WAIT_SECONDS = 3 * SILENT_SECONDS
"""How long the run of a worker that died is waited for: its clock may go before this one's."""
OF_A_POD = frozenset(
    {
        "ON_FINISH",
        "ON_ERROR",
        "PUBLISH_TO",
        "MAX_HOURS",
        "IDLE_MINUTES",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
    }
)
"""Variables that would publish a run, end the machine, or send the trainer past the endpoint's own cache."""


class TrainingFailedError(TrainerError):
    """The trainer failed; `log` holds its last lines."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


def run(context: Context, _outcomes: Mapping[str, Any]) -> dict[str, Any]:
    """Train; return the run's id.

    Raises:
        Stopped: the job was asked to end; the trainer's state is saved.
        TrainingFailedError: the trainer failed.
    """
    make_trainer_ready(context)
    context.tell("models", f"Downloading {context.choice.title} model")
    context.updates.add("MODEL_DOWNLOAD", {"message": f"Downloading {context.choice.title} model"})
    with held_models(context) as files:
        context.require_going_on()
        context.tell("training", f"Starting {context.choice.title} LoRA training", progress=0.0)
        context.updates.add(
            "TRAINING",
            {
                "message": f"Starting {context.choice.title} LoRA training",
                "epochs": context.request.training.epochs,
                "lora_rank": context.request.training.lora_rank,
            },
        )
        make_workspace(context)
        wait_for_the_last(context)
        process = start(context, command(context, files), files)
        try:
            warnings = look_on(context, process)
        finally:
            end(process)
    folder = _run_of(context)
    record = folder.load() if folder is not None else None
    if folder is None or record is None or record.state is not RunState.DONE:
        raise TrainingFailedError(why_it_failed(context, folder), tail(folder))
    leg = record.legs[-1]
    context.updates.add(
        "TRAINING_COMPLETE",
        {
            "message": "Training completed successfully!",
            "epochs_completed": leg.epochs,
            "latest_epoch": f"epoch{leg.epochs}",
        },
    )
    return {"run": folder.path.name, "epochs": leg.epochs, "steps": leg.steps, "warnings": warnings}


def make_workspace(context: Context) -> None:
    """Make the job's workspace: its own runs and output; models, trainer and memory are the endpoint's."""
    space, shared = context.folder.space, context.places
    space.root.mkdir(parents=True, exist_ok=True)
    for link, target in (
        (space.models, shared.models),
        (space.checkout, shared.checkout),
        (space.state, shared.state),
        (space.root / shared.diffusion_pipe.name, shared.diffusion_pipe),
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target in (shared.models, shared.state):
            target.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(target)


def wait_for_the_last(context: Context) -> None:
    """Wait until the run of an earlier worker that died counts as ended: it can't be looked up from here.

    Its last sign of life tells, and no other run may begin before that is old enough.

    Raises:
        Stopped: the job was asked to end.
    """
    runs, deadline = context.folder.space.runs, time.monotonic() + WAIT_SECONDS
    while runs.is_dir() and going_on(runs) and time.monotonic() < deadline:
        context.require_going_on()
        context.tell("training", "Waiting for the worker of before to end")
        context.stop.wait(POLL_SECONDS)


def command(context: Context, files: JobWeights) -> list[str]:
    """Write what the trainer is told, and return its command."""
    if context.choice.engine == "diffusion_pipe":
        from musabi.serverless.request.to_pipe import write_pipe_job

        write_pipe_job(context, files)
        return [sys.executable, "-P", "-m", "musabi.engines.diffusion_pipe.run", str(context.folder.path)]
    write_text(context.folder.job_file, job_toml(context.request, context.choice, files, context.folder))
    return [sys.executable, "-P", "-m", "musabi", "run", str(context.folder.job_file), "--continue", "--json"]


def environment(context: Context, files: JobWeights) -> dict[str, str]:
    """Return the trainer's environment: nothing in it that sets a job besides the request's own settings."""
    left_out = of_group("job") | OF_A_POD
    kept = {name: value for name, value in context.environ.items() if name not in left_out}
    return kept | {
        "WORKSPACE": str(context.folder.space.root),
        "HF_HOME": str(files.hf_home),
        "SKIP_MODEL_DOWNLOAD": "1",
        "HF_HUB_OFFLINE": "1",
    }


def start(context: Context, argv: list[str], files: JobWeights) -> subprocess.Popen[bytes]:
    """Start the command; what it prints goes to run.json, what it warns of into the job's log."""
    with (context.folder.path / "run.json").open("wb") as out:
        return subprocess.Popen(
            argv,
            env=environment(context, files),
            cwd=context.folder.path,
            stdin=subprocess.DEVNULL,
            stdout=out,
        )


def look_on(context: Context, process: subprocess.Popen[bytes]) -> list[str]:
    """Tell how the training stands until it ends; return what the trainer warned of.

    Raises:
        Stopped: the job was asked to end.
    """
    onlooker = Onlooker(context, UPDATE_SECONDS)
    while process.poll() is None:
        if context.stop.is_set():
            stop_run(context, process)
            raise Stopped
        with contextlib.suppress(OSError):  # a volume that stutters must not end a training
            if (folder := _run_of(context)) is not None:
                onlooker.look(folder)
        time.sleep(POLL_SECONDS)
    if (folder := _run_of(context)) is not None:
        onlooker.look(folder)
    return onlooker.warnings


def stop_run(context: Context, process: subprocess.Popen[bytes]) -> None:
    """Ask the run to end, and wait until it has saved its state."""
    deadline = time.monotonic() + STOP_SECONDS
    context.tell("training", "Stopping: the trainer saves its state")
    while time.monotonic() < deadline:
        folder = _run_of(context)
        going = folder is not None and folder.load().state in GOING_ON
        if folder is not None and going and not folder.stop_file.exists():
            try:
                ask_to_stop(folder)
            except OSError:  # a full disk: its runner is told by a signal, which means the same
                tell_runner(folder)
        if not going and process.poll() is not None:
            return
        if folder is None:  # it has not begun a run yet
            process.terminate()
        time.sleep(POLL_SECONDS)


def tell_runner(folder: RunFolder) -> None:
    """Send the runner of a run SIGTERM."""
    record = folder.load()
    if record.pid is not None and record.container == identity() and record.state in GOING_ON:
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGTERM)


def end(process: subprocess.Popen[bytes]) -> None:
    """End the command where it still runs. Its runner has a session of its own and goes by stop.json."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def why_it_failed(context: Context, folder: RunFolder | None) -> str:
    """Return the sentence that says why: the run's own, else what the command said."""
    if folder is not None and (message := folder.load().message):
        return message
    said = read_json(context.folder.path / "run.json")
    if isinstance(said, dict) and said.get("error"):
        return str(said["error"])
    return "The trainer ended without a word. Its log is in the job's folder on the volume."


def tail(folder: RunFolder | None) -> str:
    """Return the last lines of the trainer's log."""
    text = end_of_log(folder.log_file) if folder is not None else ""
    return "\n".join(text.replace("\r", "\n").splitlines()[-LOG_LINES:])


def _run_of(context: Context) -> RunFolder | None:
    runs: Path = context.folder.space.runs
    return newest_run(runs) if runs.is_dir() else None
