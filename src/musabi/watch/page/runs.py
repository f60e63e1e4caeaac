"""The view of all runs: newest first, how each stands and what its loss does, several losses over one another."""

import time
from dataclasses import dataclass
from typing import Any

from musabi.job.record import RunState
from musabi.watch.page.behind import kept
from musabi.watch.page.html import render
from musabi.watch.page.run_charts import MOST_CHOSEN, ROUTE, charts_part, newest_part
from musabi.watch.page.run_glance import Glance, glance
from musabi.watch.page.run_records import Run, records_of
from musabi.watch.page.scene import Scene
from musabi.watch.page.view import Query, View
from musabi.watch.status_words import polyline, state_colour, state_word
from musabi.watch.story import MODELS, duration, moment, plan_schedule, seconds_taken

MOST_ROWS = 100
"""So many runs are listed; all of them where `all` is asked for."""
GLANCES, ROWS = "run glances", "run rows"
READING_S = 0.1
"""So long losses are read at one look; the others follow at the next."""
LINE_WIDTH, LINE_HEIGHT, LINE_MARGIN = 120, 28, 2


@dataclass(frozen=True)
class Row:
    """What the list shows of one run."""

    id: str
    name: str
    state: str
    colour: str
    model: str
    steps: str
    loss: str
    took: str
    when: str
    line: str
    said: str
    note: str


def listed(scene: Scene, query: Query) -> str:
    """Return the runs that have ended, newest first."""
    runs = records_of(scene).look()
    _forget_all_but(scene, {run.folder.path.name for run in runs})
    ended = [run for run in runs if not run.goes_on]
    shown = ended if query.get("all") else ended[:MOST_ROWS]
    more = len(ended) - len(shown)
    return render(
        "runs_list", {"rows": _rows(scene, shown), "title": "Ended", "more": more, "any": bool(runs)}
    )


def going(scene: Scene, _query: Query) -> str:
    """Return the runs that go on."""
    runs = [run for run in records_of(scene).look() if run.goes_on]
    if not runs:
        return ""
    return render("runs_list", {"rows": _rows(scene, runs), "title": "Going on", "more": 0, "any": True})


def row_of(run: Run, seen: Glance, now: float) -> Row:
    """Return what the list shows of a run; `now` is Unix seconds."""
    record, schedule = run.record, plan_schedule(run.record)
    done = max(seen.step or 0, record.start_step)
    steps = schedule["steps"]
    if steps:
        words = f"{steps:,}" if record.state is RunState.DONE else f"{done:,} of {steps:,}"
    else:
        words = f"{done:,}" if done else ""
    model = str(record.job.get("model") or "")
    return Row(
        id=run.folder.path.name,
        name=run.name,
        state=state_word(record.state.value),
        colour=state_colour(record.state.value),
        model=MODELS.get(model, model),
        steps=words,
        loss="" if seen.loss is None else f"{seen.loss:.4f}",
        took=_took(run, now),
        when=moment(record.created),
        line=line_of(seen),
        said=_said(seen),
        note=_note(run),
    )


def line_of(seen: Glance) -> str:
    """Return the points of a small line as an SVG polyline has them, or "" where there is no line."""
    if len(seen.points) < 2:
        return ""
    return polyline(seen.points, LINE_WIDTH, LINE_HEIGHT, LINE_MARGIN)


def _said(seen: Glance) -> str:
    if len(seen.points) < 2:
        return ""
    (_, first), (_, last) = seen.points[0], seen.points[-1]
    return f"Loss from {first:.3g} to {last:.3g}"


def _note(run: Run) -> str:
    """Return what there is to know besides: what it goes on from, what it was started for, where it ended up."""
    record = run.record
    said = [f"goes on from {record.resumed_from}"] if record.resumed_from else []
    if not record.plan.get("schedule"):
        said.append("prepared only")
    said += ["published"] if record.published else []
    return ", ".join(said)


def _took(run: Run, now: float) -> str:
    """Return how long the run took; of one that goes on to the minute, so that its row seldom changes."""
    if run.record.state is RunState.PLANNED:
        return ""
    seconds = seconds_taken(run.record, now)
    if not seconds:  # interrupted: nothing says when
        return ""
    return duration(seconds - seconds % 60 if run.goes_on and seconds > 60 else seconds)


def _rows(scene: Scene, runs: list[Run]) -> list[str]:
    """Return a table row of HTML for each run, made again only where what it shows is another."""
    seen = kept(scene.memory, GLANCES, dict[str, tuple[object, Glance]])
    made = kept(scene.memory, ROWS, dict[str, tuple[Row, str]])
    until, now, rows = time.monotonic() + READING_S, time.time(), []
    for run in runs:
        name = run.folder.path.name
        at, found = seen.get(name, (None, Glance()))
        as_it_stands = (run.stamp, run.record.state)  # of a run that has ended since, the end is not read yet
        if (run.goes_on or at != as_it_stands) and time.monotonic() < until:
            found = glance(run.folder.events_file, found)
            seen[name] = (as_it_stands, found)
        row = row_of(run, found, now)
        known = made.get(name)
        if known is None or known[0] != row:
            known = (row, render("runs_row", {"row": row, "width": LINE_WIDTH, "height": LINE_HEIGHT}))
            made[name] = known
        rows.append(known[1])
    return rows


def _forget_all_but(scene: Scene, there: set[str]) -> None:
    """Let go of what is in memory of runs that were deleted."""
    for name in (GLANCES, ROWS):
        remembered: dict[str, Any] = scene.memory.get(name, {})
        for gone in set(remembered) - there:
            remembered.pop(gone, None)


def values(scene: Scene, query: Query) -> dict[str, Any]:
    """Return the charts of the runs that `chosen` names, and where nobody chose, of the newest training."""
    there = records_of(scene).look()
    names = [run.folder.path.name for run in there]
    chosen = [name for name in query.get("chosen", "").split(",") if name in names][:MOST_CHOSEN]
    if not chosen:
        trained = [run for run in there if run.record.plan.get("schedule")]
        chosen = [run.folder.path.name for run in trained[:1]]
    return {"charts": charts_part(scene, chosen, words=True), "most": MOST_CHOSEN, "runs": len(there)}


RUNS = View(
    "runs",
    "Runs",
    parts={"going": going, "list": listed, "curves": newest_part},
    routes=(ROUTE,),
    values=values,
)
