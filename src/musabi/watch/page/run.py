"""The view of one run: how it stands, charts, samples, checkpoints, the log, and what exactly it is."""

import time
from typing import Any

from musabi.job.record import RunRecord, RunState
from musabi.watch import story
from musabi.watch.page import run_files, run_log, run_samples
from musabi.watch.page.html import render
from musabi.watch.page.run_charts import charts_part, newest_part
from musabi.watch.page.run_files import files_part, grids_part, rows_of
from musabi.watch.page.run_log import log_part
from musabi.watch.page.run_records import records_of
from musabi.watch.page.run_samples import samples_part
from musabi.watch.page.run_shown import Shown, progress_of, remember, shown_run
from musabi.watch.page.run_verbs import VERBS
from musabi.watch.page.scene import Scene
from musabi.watch.page.train_now import CUT_OFF, has_state, stages
from musabi.watch.page.view import Query, View
from musabi.watch.parcel import settings_values
from musabi.watch.report import commands_of
from musabi.whole import read_json

CONVERT = "convert"
PLAIN_STATE = {RunState.PLANNED: "starting"}


def head_part(scene: Scene, query: Query) -> str:
    """Return how the run stands: its state in words, its progress, what to do next, the settings that matter."""
    shown = shown_run(scene, query.get("id", ""))
    record = shown.record
    progress = progress_of(scene, shown.folder).values
    at_work = working(record, progress.get("phase"))
    now = time.time()
    taken = sum(story.seconds_taken(each, now) for _, each in shown.lineage.records)
    facts = dict(story.job_facts(record, taken, "", None))
    taken_words = facts.pop("Time taken", "")
    if not record.plan.get("schedule"):
        facts = {name: facts[name] for name in ("Model", "Engine") if name in facts}
    later = later_run(scene, shown) if record.state in CUT_OFF else ""
    step = max(int(progress.get("step") or 0) if progress.get("phase") == "train" else 0, record.start_step)
    return render(
        "run_head",
        {
            "run": shown.id,
            "state": record.state.value,
            "word": PLAIN_STATE.get(record.state, record.state.value),
            "headline": story.headline(record, step, taken),
            "message": record.message,
            "failed": record.state is RunState.FAILED,
            "failed_step": story.failed_step(record),
            "next": next_words(record, can_resume=can_go_on(shown, later), later=later),
            "later": later,
            "progress": progress if shown.goes_on and progress.get("phase") in at_work else {},
            "name": shown.name,
            "doing": next((one.title for one in record.steps if one.name in at_work), ""),
            "steps": stages_of(record) if shown.goes_on else [],
            "facts": facts,
            "started": story.moment(shown.lineage.records[0][1].created),
            "resumed": len(shown.lineage.records) - 1,
            "taken": taken_words,
            "remark": story.weights_remark(record.versions),
            "published": record.published,
        },
    )


def stages_of(record: RunRecord) -> list[dict[str, str]]:
    """Return the run's steps as {"title", "state"}; the conversions, one a checkpoint, are one."""
    return stages([{"name": step.name, "title": step.title, "state": step.state} for step in record.steps])


def working(record: RunRecord, phase: object) -> list[object]:
    """Return the names of the steps at work: figures of the newest event's `phase` are stale where it is over."""
    return [step.name for step in record.steps if step.state == "running"] or [phase]


def next_words(record: RunRecord, *, can_resume: bool, later: str = "") -> str:
    """Return what a person can do now, in a sentence or two; `later` is a newer run of its name, where there is one."""
    if record.state in (RunState.PLANNED, RunState.RUNNING):
        return "You can close this page: the run goes on."
    if record.state is RunState.DONE:
        return "Compare its samples, then take a checkpoint." if record.plan.get("schedule") else ""
    if later:
        return "A newer run has its name:"
    mend = "Do what the message says, then " if record.state is RunState.FAILED and record.message else ""
    if can_resume:
        text = mend + "go on from the newest saved state with Resume."
    else:
        text = mend + "start it again from the beginning: no state was saved."
    return text[0].upper() + text[1:]


def later_run(scene: Scene, shown: Shown) -> str:
    """Return the id of the newest training of the run's name, or "" where that is the run itself."""
    same = (
        run for run in records_of(scene).look() if run.name == shown.name and run.record.plan.get("schedule")
    )
    newest = next(same, None)
    return "" if newest is None or newest.folder.path == shown.folder.path else newest.folder.path.name


def can_go_on(shown: Shown, later: str) -> bool:
    """Tell whether the run was cut off and can go on: it is the newest of its name and left a state."""
    if shown.record.state not in CUT_OFF or not shown.record.plan.get("schedule") or later:
        return False
    return has_state(shown.run)


def acts_part(scene: Scene, query: Query) -> str:
    """Return the buttons that stop the run or go on with it: they change with its state only."""
    shown = shown_run(scene, query.get("id", ""))
    later = later_run(scene, shown)
    cut_off = shown.record.state in CUT_OFF and bool(shown.record.plan.get("schedule"))
    asked = read_json(shown.folder.stop_file) if shown.goes_on else None
    values = {
        "run": shown.id,
        "goes_on": shown.goes_on,
        "trains": bool(shown.record.plan.get("schedule")),
        "asked": asked if isinstance(asked, dict) else None,
        "resume": can_go_on(shown, later),
        "again": cut_off and not later,
    }
    return render("run_acts", values)


def exact_part(scene: Scene, query: Query) -> str:
    """Return the exact commands, settings, versions and the planner's reasons."""
    shown = shown_run(scene, query.get("id", ""))

    def make() -> str:
        record = shown.record
        told = settings_values(record, scene.hidden)
        names = [step.get("name") for step in record.plan.get("steps") or []]
        commands = list(zip(names, commands_of(record), strict=False))
        return render(
            "run_exact",
            {
                "commands": [one for name, one in commands if name != CONVERT],
                "converts": [one for name, one in commands if name == CONVERT],
                "choices": told["choices"],
                "warnings": record.plan.get("warnings") or [],
                "settings": sorted((name, plain(value)) for name, value in told["job"].items()),
                "versions": sorted(record.versions.items()),
                "folder": str(shown.folder.path),
                "output": str(shown.output),
                "fingerprint": record.dataset_fingerprint,
            },
        )

    return remember(scene, ("exact", shown.id), shown.signature, make)


def plain(value: object) -> str:
    """Return a setting's value as a person writes it."""
    if value is None or value in ([], {}, ()):
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {plain(part)}" for name, part in value.items())
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def values(scene: Scene, query: Query) -> dict[str, Any]:
    """Return what stands outside of the parts that live.

    Raises:
        RequestError: there is no such run.
    """
    shown = shown_run(scene, query.get("id", ""))
    trains = bool(shown.record.plan.get("schedule"))
    rows = rows_of(scene, shown)
    return {
        "run": shown.id,
        "name": shown.name,
        "trains": trains,
        "charts": charts_part(scene, (shown.id,), words=True) if trains else "",
        "runs": [
            (run.folder.path.name, run.name, run.record.created) for run in records_of(scene).look()[:200]
        ],
        "checkpoints": [(row.checkpoint.stem, row.checkpoint.label) for row in rows if row.native],
        "publish_to": scene.settings.publish_to or "",
        "trigger": str(shown.record.job.get("trigger_word") or ""),
        "when": story.moment,
    }


RUN = View(
    "run",
    "Run",
    parts={
        "head": head_part,
        "acts": acts_part,
        "curves": newest_part,
        "samples": samples_part,
        "files": files_part,
        "grids": grids_part,
        "log": log_part,
        "exact": exact_part,
    },
    verbs=VERBS,
    routes=(*run_samples.ROUTES, *run_files.ROUTES, *run_log.ROUTES),
    values=values,
    in_menu=False,
)
