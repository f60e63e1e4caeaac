"""`musabi report`: one self-contained HTML page about a run."""

import re
import shlex
import time
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import quote

from musabi.job.record import RunFolder, RunRecord, RunState
from musabi.templating import environment
from musabi.watch import story
from musabi.watch.checkpoints import Checkpoint, LoraFile, checkpoints, to_take
from musabi.watch.gallery import read_gallery
from musabi.watch.lineage import Lineage, read_lineage
from musabi.watch.loss_words import loss_words
from musabi.watch.losses import Losses, charts, read_losses
from musabi.watch.pictures import thumbnail
from musabi.watch.samples import Grid, grid, read_prompts, read_sample, sample_files
from musabi.whole import write_text

SAMPLE_PX = 320
SAMPLE_FOLDER = "sample"
MOST_PROMPTS = 12
# Values after such options are not for a page that is passed around.
_SECRET_OPTION = re.compile(r"--?\S*(token|api_key|secret|password)$", re.IGNORECASE)


def write_report(run: RunFolder, target: Path | None = None) -> Path:
    """Write the report of a run and return its path, OUTPUT_DIR/OUTPUT_NAME-report.html by default.

    What is missing (samples, event files, a dataset that moved) is said in the page.

    Raises:
        RequestError: there is no record in the run's folder.
    """
    lineage = read_lineage(run)
    job = lineage.record.job
    if target is None:
        target = Path(job["output_dir"]) / f"{job['output_name']}-report.html"
    write_text(target, render(lineage, target.absolute().parent, time.time()))
    return target


def render(lineage: Lineage, folder: Path, now: float) -> str:
    """Return the page as HTML; links are relative to `folder`, `now` is Unix seconds."""
    templates = environment("musabi.watch")
    templates.filters["size"] = story.file_size
    return templates.get_template("report.html.j2").render(context(lineage, folder, now))


def context(lineage: Lineage, folder: Path, now: float) -> dict[str, Any]:
    """Return everything that the template shows."""
    record = lineage.record
    job = record.job
    losses = read_losses(lineage)
    gallery = read_gallery(Path(job["dataset_config"]))
    rows = checkpoints(lineage.files, job["output_name"])
    taken = sum(story.seconds_taken(each, now) for _, each in lineage.records)
    return {
        "name": job["output_name"],
        "run": record.id,
        "made": story.moment(now),
        "started": story.moment(lineage.records[0][1].created),
        "state": record.state.value,
        "badge": story.BADGES[record.state],
        "headline": story.headline(record, max(losses.last_step, record.start_step), taken),
        "message": record.message,
        "failed_step": story.failed_step(record),
        "next_action": story.next_action(record, any(file.kind == "state" for file in lineage.files)),
        "resumed": len(lineage.records) - 1,
        "weights_remark": story.weights_remark(record.versions),
        "take": _take(rows, record, folder),
        "facts": story.job_facts(record, taken, gallery.resolution, gallery.images),
        "charts": charts(losses),
        "losses_remark": losses.remark,
        "convergence": loss_words(losses, rows),
        "samples": _samples(lineage, losses, folder),
        "checkpoints": [_row(row, folder) for row in rows],
        "gallery": gallery,
        "dataset_config": job["dataset_config"],
        "versions": sorted(record.versions.items()),
        "choices": record.plan.get("choices") or [],
        "warnings": record.plan.get("warnings") or [],
        "commands": commands_of(record),
    }


def link(path: Path, folder: Path) -> str | None:
    """Return the relative link from a page in `folder` to `path`, or None where it lies elsewhere."""
    try:
        below = path.absolute().relative_to(folder)
    except ValueError:
        return None
    return "./" + quote(below.as_posix())


def _take(rows: Sequence[Checkpoint], record: RunRecord, folder: Path) -> dict[str, Any] | None:
    found = to_take(rows)
    if found is None:
        return None
    row, file = found
    return {
        **_file(file, folder),
        "label": row.label,
        "whole": record.state is RunState.DONE,
        "converted": file is row.converted,
        "absolute": str(file.path.absolute()),
    }


def _file(file: LoraFile, folder: Path) -> dict[str, Any]:
    """Return a file for the template: its path as text, and a link where it is there and below the page."""
    href = link(file.path, folder) if file.size is not None else None
    shown = file.path.absolute()
    text = str(shown.relative_to(folder)) if shown.is_relative_to(folder) else str(shown)
    return {"name": file.path.name, "path": text, "href": href, "size": file.size}


def _row(row: Checkpoint, folder: Path) -> dict[str, Any]:
    return {
        "label": row.label,
        "native": _file(row.native, folder) if row.native else None,
        "converted": _file(row.converted, folder) if row.converted else None,
    }


def _samples(lineage: Lineage, losses: Losses, folder: Path) -> dict[str, Any]:
    """Return the samples' grid with thumbnails, its prompts, and what was left out."""
    record = lineage.record
    name = record.job["output_name"]
    files = sample_files(
        lineage.files, Path(record.job["output_dir"]) / SAMPLE_FOLDER, name, record.lineage_started
    )
    prompts = read_prompts(Path(record.job["sample_prompts"]))
    found = grid([read_sample(file, name, losses.steps_per_epoch) for file in files], len(prompts))
    shown = found.prompts[:MOST_PROMPTS]
    return {
        "moments": [moment.label for moment in found.moments],
        "rows": [
            {
                "number": prompt + 1,
                "prompt": prompts[prompt] if prompt < len(prompts) else None,
                "cells": [_cell(found, prompt, column, folder) for column in range(len(found.moments))],
            }
            for prompt in shown
        ],
        "moments_left_out": found.left_out,
        "prompts_left_out": len(found.prompts) - len(shown),
    }


def _cell(found: Grid, prompt: int, column: int, folder: Path) -> dict[str, Any] | None:
    path = found.cells.get((prompt, found.moments[column]))
    if path is None:
        return None
    return {"picture": thumbnail(path, SAMPLE_PX), "href": link(path, folder), "name": path.name}


def commands_of(record: RunRecord) -> list[dict[str, str | None]]:
    """Return the plan's steps with their exact command lines, values of secret options left out."""
    planned = record.plan.get("steps") or []
    shown: list[dict[str, str | None]] = []
    for step, outcome in zip_longest(planned, record.steps[: len(planned)]):
        took = (
            story.duration(outcome.ended - outcome.started)
            if outcome and outcome.started is not None and outcome.ended is not None
            else None
        )
        shown.append(
            {
                "title": step["title"],
                "state": outcome.state if outcome else "waiting",
                "reason": step.get("skip"),
                "took": took,
                "command": _command_line(step),
            }
        )
    return shown


def _command_line(step: dict[str, Any]) -> str:
    env = [f"{name}={shlex.quote(value)}" for name, value in sorted((step.get("env") or {}).items())]
    argv, hide = [], False
    for word in step["argv"]:
        option, equals, _ = word.partition("=")
        secret = bool(_SECRET_OPTION.match(option))
        argv.append("..." if hide else f"{option}=..." if equals and secret else shlex.quote(word))
        hide = secret and not equals
    return " ".join([*env, *argv])
