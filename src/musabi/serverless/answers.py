"""The answer of a job, as the original's clients read it: success, or what went wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

from musabi.job.record import RunState, newest_run
from musabi.serverless.context import Context
from musabi.serverless.job_folder import JobFolder

WHY = {
    "cancelled": "The job was cancelled.",
    "timed_out": "The job took longer than its policy allows (executionTimeout).",
    "ended_by_runpod": "Runpod ended the job: it was cancelled, or it took longer than its policy allows "
    "(executionTimeout).",
}


def success(context: Context, outcomes: Mapping[str, Any], warnings: Sequence[str]) -> dict[str, Any]:
    """Return the answer of a job that went well; its keys are those of the original, and a few more."""
    dataset, training, uploading = outcomes["dataset"], outcomes["training"], outcomes["uploading"]
    answer = {
        "status": "success",
        "job_id": context.job_id,
        "model_type": context.request.model_type,
        "model_name": context.choice.title,
        "epochs_completed": training["epochs"],
        "latest_epoch": f"epoch{training['epochs']}",
        "output": uploading["output"],
        "engine": context.choice.engine,
        "steps": training["steps"],
        "dataset": {
            "images": dataset["images"],
            "videos": dataset["videos"],
            "captioned": outcomes["captions"]["captioned"],
            "left_out": dataset["left_out"],
            "findings": outcomes["check"]["findings"],
        },
    }
    said = [*warnings, *training.get("warnings", ()), *uploading["warnings"]]
    return answer | ({"warnings": said} if said else {})


def failed(error: str, **more: str) -> dict[str, Any]:
    """Return the answer of a job that failed; `output` holds the trainer's last lines, where it was the trainer."""
    return {"status": "failed", "error": error} | {name: text for name, text in more.items() if text}


def cancelled(folder: JobFolder, why: str) -> dict[str, Any]:
    """Return the answer of a job that was ended; what it did stays on the volume."""
    said = [WHY.get(why, "The job was ended."), lost(folder)]
    if folder.phases():
        said.append("What is done so far is kept; /retry goes on from there.")
    return {"status": "failed", "error": " ".join(text for text in said if text)}


def lost(folder: JobFolder) -> str | None:
    """Return the run's own words on what it saved when it was stopped, or None where none was stopped.

    musubi-tuner saves a state at the end of an epoch only (save_every_n_epochs): the steps since then are lost.
    """
    run = newest_run(folder.space.runs) if folder.space.runs.is_dir() else None
    record = run.load() if run is not None else None
    return record.message if record is not None and record.state is RunState.STOPPED else None
