"""Loss and learning rate as charts: what a page holds of them, and the numbers that its script asks for.

A page that shows them needs: `charts_part(scene, run_ids)` once, outside of its live parts; the part
`"curves": newest_part` among its parts; `<script src="static/run_charts.js" type="module">` and
`<link rel="stylesheet" href="static/run_charts.css">`. The route (`ROUTE`) is the Runs view's.
"""

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from musabi.job.record import ProducedFile
from musabi.watch.checkpoints import Checkpoint, checkpoints
from musabi.watch.convergence import Saved, convergence_words, judge
from musabi.watch.page.html import render
from musabi.watch.page.live import hash_of
from musabi.watch.page.run_curves import Have, Wanted, curve, epoch_points, step_at
from musabi.watch.page.run_records import records_of
from musabi.watch.page.run_series import RunSeries, series_of
from musabi.watch.page.scene import Scene
from musabi.watch.page.view import Query
from musabi.watch.series import Point, Series, smoothing_weight, smoothing_window
from musabi.watch.story import plan_schedule
from musabi.watch.words import epoch_ends, epoch_means

MOST_CHOSEN = 5
"""There are so many colours."""
WINDOWS = (5, 10, 20, 50, 100, 200, 500)
"""Over so many steps a curve is smoothed where nobody chose: few kinds, so that a run that grows seldom changes."""
MOST_WEIGHT = 0.999
JUDGE_AGAIN = 50
"""A run is judged again after so many new steps, or a fiftieth more."""
RATE_TITLES = {"lr/d*lr/unet": "Learning rate (Prodigy's own: d times lr)", "lr/unet": "Learning rate"}


def charts_part(scene: Scene, run_ids: Sequence[str], *, words: bool = False) -> str:
    """Return the charts of these runs (at most five) as HTML, with their controls.

    With `words` each run's convergence is said below, too.
    """
    there = [run_id for run_id in run_ids if records_of(scene).one(run_id) is not None]
    return render("run_charts", {"ids": json.dumps(there[:MOST_CHOSEN]), "words": words})


def newest_part(scene: Scene, query: Query) -> str:
    """Return how far the runs' numbers go: a live part, `curves`, whose change makes run_charts.js fetch what is new.

    Of the run that the page's `id` names, else of all that go on.
    """
    named = [query["id"]] if query.get("id") else []
    ids = named or [run.folder.path.name for run in records_of(scene).look() if run.goes_on]
    found = [(run_id, run) for run_id in ids if (run := series_of(scene, run_id)) is not None]
    return render("run_charts_newest", {"runs": [(run_id, hash_of(run.version)) for run_id, run in found]})


async def curves(request: Request) -> Response:
    """Answer with the numbers of the runs that `runs` names, a JSON list of their ids.

    `weight` is how strongly to smooth ("" for what suits the run). `have` says what the browser has of each run
    already; `range`, a pair of steps for each, asks for the curves of that range alone. Both are JSON objects by id.
    """
    query = dict(request.query_params)
    made = await anyio.to_thread.run_sync(partial(curves_of, request.app.state.scene, query))
    return JSONResponse({"runs": made})


ROUTE = Route("/curves", curves)


def curves_of(scene: Scene, query: Query) -> list[dict[str, Any]]:
    """Return each run's numbers; a run that is not there is left out."""
    ids = _json(query.get("runs"), list)
    have, ranges = _json(query.get("have"), dict), _json(query.get("range"), dict)
    made = []
    for run_id in [one for one in ids if isinstance(one, str)][:MOST_CHOSEN]:
        run = series_of(scene, run_id)
        if run is None:
            continue
        held, range_ = have.get(run_id), _range(ranges.get(run_id))
        with run.lock:
            one = {"id": run_id} | _curves(
                run, query.get("weight", ""), held if isinstance(held, dict) else {}, range_
            )
            made.append(one if ranges else one | _around(run, held if isinstance(held, dict) else {}))
    return made


def _curves(
    run: RunSeries, weight_given: str, held: Mapping[str, Any], range_: tuple[int, int] | None
) -> dict[str, Any]:
    """Return the run's curves: all of them, or those in a range, or what `held` lacks."""
    first, last = range_ or (None, None)
    made: dict[str, Any] = {}
    if loss := run.loss:
        made["weight"] = weight = _weight(weight_given, len(loss[1].series))
        usable = (
            _have(held.get("loss")) if (held.get("weight"), held.get("tag")) == (weight, loss[0]) else None
        )
        made["loss"] = curve(loss[1], Wanted(weight, first, last, usable), smoothing=True) | {"tag": loss[0]}
    if rate := run.rate:
        made["rate"] = curve(rate[1], Wanted(0, first, last, _have(held.get("rate"))), smoothing=False)
        made["rate"]["title"] = RATE_TITLES[rate[0]]
    return made


def _around(run: RunSeries, held: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands around the curves: the run's name, its epochs and marks where `held` lacks them."""
    schedule = plan_schedule(run.run.record)
    made: dict[str, Any] = {
        "name": run.run.name,
        "state": run.run.record.state.value,
        "version": hash_of(run.version),
        "per_epoch": schedule["steps_per_epoch"],
        "steps": schedule["steps"],
        "remark": run.remark,
        "words": _words(run),
    }
    means, loss = _means(run), run.loss
    if held.get("epochs") != len(means):
        logged = run.tags.get("loss/epoch")
        times = list(logged.series.times) if logged and not logged.broken else []
        made["epochs"] = epoch_points(means, times, loss[1] if loss else None, schedule["steps_per_epoch"])
    files = _files(run)
    if held.get("files") != len(files):
        made |= {"files": len(files), "marks": _marks(run, files)}
    return made


def _words(run: RunSeries) -> list[str]:
    """Return the run's convergence in words, worked out again only where much is new."""
    loss = run.loss
    if loss is None:
        return []
    count = len(loss[1].series)
    means, files = _means(run), _files(run)
    known = (loss[1].cuts, len(means), len(files), run.run.goes_on, bool(loss[1].broken))
    if run.words and run.words[0] == known and count - run.judged_at < max(JUDGE_AGAIN, count // 50):
        return run.words[1]
    broken = loss[1].series.first_not_finite() if loss[1].broken else None
    steps = loss[1].series if loss[0] == "loss/current" else Series()
    saved = [one for one in _saved(run, files) if broken is None or one.step < broken]
    said = convergence_words(judge(means, steps, broken, saved), goes_on=run.run.goes_on)
    run.words, run.judged_at = (known, said), count
    return said


def _means(run: RunSeries) -> list[Point]:
    """Return (epoch, mean loss): as logged, else of its steps, else as printed at its end; worked out once an epoch."""
    per_epoch = plan_schedule(run.run.record)["steps_per_epoch"]
    logged, loss = run.tags.get("loss/epoch"), run.loss
    if logged is not None:
        return logged.series.points()
    if loss is None or not per_epoch:
        return []
    at = (loss[1].cuts, loss[1].series.steps[-1] // per_epoch)
    if run.means is None or run.means[0] != at:
        found = epoch_ends if loss[0] == "loss/average" else epoch_means
        run.means = (at, found({loss[0]: loss[1].series}, per_epoch))
    return run.means[1]


def _files(run: RunSeries) -> list[ProducedFile]:
    """Return the checkpoints of the run and those before it, each path once."""
    known = {
        file.path: file for leg in run.legs for file in leg.run.record.files if file.kind == "checkpoint"
    }
    return sorted(known.values(), key=lambda file: file.made)


def _marks(run: RunSeries, files: Sequence[ProducedFile]) -> list[dict[str, Any]]:
    """Return where checkpoints were saved and where a run before was gone on from: step, kind and words each."""
    marks: list[dict[str, Any]] = []
    for leg in run.legs[1:]:
        step = leg.run.record.start_step
        marks.append({"kind": "resumed", "step": step, "label": f"Resumed at step {step:,}"})
    for row, step in _placed(run, files):
        marks.append({"kind": "checkpoint", "step": step, "label": row.label, "here": row.on_disk})
    return marks


def _placed(run: RunSeries, files: Sequence[ProducedFile]) -> list[tuple[Checkpoint, int]]:
    """Return the checkpoint of each file, with its step; those whose step nothing tells are left out."""
    rows = {row.stem: row for row in checkpoints(files, run.run.name)}
    found = ((rows.get(file.path.stem), file) for file in files)
    placed = ((row, _step_of(run, file, row)) for row, file in found if row is not None)
    return [(row, step) for row, step in placed if step is not None]


def _step_of(run: RunSeries, file: ProducedFile, row: Checkpoint) -> int | None:
    """Return the step that a checkpoint was saved at: as it says, else by its epoch, else by when it was made."""
    step, epoch = file.step or row.step, file.epoch or row.epoch
    per_epoch = plan_schedule(run.run.record)["steps_per_epoch"]
    if step:
        return step
    if epoch and per_epoch:
        return epoch * per_epoch
    return step_at(run.loss[1], file.made) if run.loss else None


def _saved(run: RunSeries, files: Sequence[ProducedFile]) -> list[Saved]:
    """Return the checkpoints that are on disk, with the step and the epoch of each."""
    per_epoch = plan_schedule(run.run.record)["steps_per_epoch"]
    return [
        Saved(row.label, step, row.epoch or step / per_epoch)
        for row, step in _placed(run, files)
        if row.on_disk and per_epoch
    ]


def _weight(given: str, count: int) -> float:
    """Return the weight that was asked for, or the one that suits so many steps (see series.smoothing_window)."""
    try:
        weight = float(given)
    except ValueError:
        weight = math.nan
    if math.isfinite(weight):
        return min(max(weight, 0.0), MOST_WEIGHT)
    fitting = (window for window in WINDOWS if window <= smoothing_window(count))
    return smoothing_weight(max(fitting, default=WINDOWS[0]))


def _have(given: object) -> Have | None:
    if (
        isinstance(given, list)
        and len(given) == 3
        and all(isinstance(one, int) and one >= 0 for one in given)
    ):
        return Have(*given)
    return None


def _range(given: object) -> tuple[int, int] | None:
    if isinstance(given, list) and len(given) == 2 and all(isinstance(one, int) for one in given):
        return given[0], given[1]
    return None


def _json(given: str | None, kind: type[Any]) -> Any:  # noqa: ANN401 - a JSON value
    """Return the JSON value of that kind, or an empty one where the query holds something else."""
    try:
        value = json.loads(given or "null")
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, kind) else kind()
