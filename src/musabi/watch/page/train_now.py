"""The runs that go on, with their progress and a way to stop them, and those that were cut off, to go on with."""

import os
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from musabi.errors import RequestError
from musabi.job.record import RunState
from musabi.job.states import state_pattern
from musabi.watch.page.html import render
from musabi.watch.page.run_records import Run, records_of
from musabi.watch.page.run_shown import progress_of
from musabi.watch.page.scene import Scene
from musabi.watch.page.train_jobs import of_run, write_job
from musabi.watch.page.view import Given, Query, Verb
from musabi.watch.status import run_values

MOST_UNFINISHED = 3
OVER = ("done", "skipped")
SEVERAL = {"convert": "Convert the checkpoints", "sample": "Render the sample prompts"}
CUT_OFF = (RunState.STOPPED, RunState.INTERRUPTED, RunState.FAILED)


def now_part(scene: Scene, _query: Query) -> str:
    """Return the cards of the runs that go on, and of the newest that were cut off."""
    known = records_of(scene).look()
    going = [_card(scene, run) for run in reversed(known) if run.goes_on]
    cut_off = [(run, has_state(run)) for run in unfinished(known)[:MOST_UNFINISHED]]
    if not (going or cut_off):
        return ""
    return render("train_now", {"going": going, "cut_off": cut_off})


def unfinished(known: list[Run]) -> list[Run]:
    """Return the trainings that ended before their end and were not started again since; `known` newest first."""
    newest: dict[str, Run] = {}
    for run in known:
        if run.record.plan.get("schedule"):
            newest.setdefault(run.name, run)
    return [run for run in newest.values() if run.record.state in CUT_OFF]


def has_state(run: Run) -> bool:
    """Tell whether a run left a state to go on from. What a killed one left is found when it goes on."""
    if run.record.state is RunState.INTERRUPTED:
        return True
    pattern = state_pattern(run.name)
    try:
        with os.scandir(str(run.record.job["output_dir"])) as found:
            return any(pattern.fullmatch(one.name) for one in found)
    except (KeyError, OSError, ValueError):
        return False


def _card(scene: Scene, run: Run) -> dict[str, Any]:
    values = run_values(run.folder, run.record, progress_of(scene, run.folder))
    return values | {
        "stopping": run.folder.stop_file.exists(),
        "share": _share(values["progress"]),
        "stages": stages(values["steps"]),
    }


def stages(steps: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return {"title", "state"} of what a run does; neighbours that do the same with other files are one."""
    found: list[dict[str, str]] = []
    for name, group in groupby(steps, key=lambda step: step["name"]):
        same = list(group)
        states = [step["state"] for step in same]
        done = sum(state in OVER for state in states)
        state = next((one for one in states if one not in OVER), states[-1])
        several = f"{SEVERAL.get(name, same[0]['title'])}, {done} of {len(same)}"
        title = same[0]["title"] if len(same) == 1 else several
        found.append({"title": title, "state": "running" if "running" in states else state})
    return found


def _share(progress: Mapping[str, Any]) -> float | None:
    """Return how much of what goes on now is done, 0 to 1, or None where it is not said."""
    step, steps = progress.get("step"), progress.get("steps")
    if not isinstance(step, int) or not isinstance(steps, int) or steps < 1:
        return None
    return min(1.0, max(0.0, step / steps))


def stop_words(scene: Scene, given: Given) -> list[str]:
    """Return the arguments that stop a run."""
    return ["stop", f"--run={run_named(scene, given).folder.path.name}"]


def stop_after_save_words(scene: Scene, given: Given) -> list[str]:
    """Return the arguments that stop a run once its next state is saved."""
    return [*stop_words(scene, given), "--after-save"]


def resume_words(scene: Scene, given: Given) -> list[str]:
    """Return the arguments that go on with a run, with the settings that it was started with."""
    return _whole_job(scene, given, "--resume")


def again_words(scene: Scene, given: Given) -> list[str]:
    """Return the arguments that start a run anew; what it left is moved aside."""
    return _whole_job(scene, given, "--overwrite")


def _whole_job(scene: Scene, given: Given, how: str) -> list[str]:
    path = write_job(scene.space, of_run(run_named(scene, given).record.job, scene.environ))
    return ["run", str(path), how, "--detach"]


def run_named(scene: Scene, given: Given) -> Run:
    """Return the run that the page names.

    Raises:
        RequestError: there is no such run.
    """
    name = given.get("run")
    run = records_of(scene).one(name) if isinstance(name, str) else None
    if run is None or run.folder.path.is_symlink():
        raise RequestError("There is no such run any more. Load the page again.")
    return run


VERBS = {
    "train-stop": Verb("Stop the run", stop_words, done="Stopped."),
    "train-stop-saved": Verb(
        "Stop the run after its next save", stop_after_save_words, long=True, done="Stopped after a save."
    ),
    "train-resume": Verb("Resume a run", resume_words, done="It goes on."),
    "train-again": Verb(
        "Start a run again", again_words, done="Started again. The older files are in output/replaced."
    ),
}
