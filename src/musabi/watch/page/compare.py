"""The view that lays two samples over each other under a divider: two checkpoints of a run, or of two runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from musabi.watch.page.run_records import records_of
from musabi.watch.page.run_samples import Cell, Samples, samples_of
from musabi.watch.page.run_shown import Shown, shown_run
from musabi.watch.page.scene import Scene
from musabi.watch.page.view import Query, View
from musabi.watch.samples import Moment
from musabi.watch.story import moment

MOST_RUNS = 60


@dataclass(frozen=True)
class Side:
    """One of the two samples: of which run, prompt and moment; `cell` is None where the run has none there."""

    shown: Shown
    samples: Samples
    prompt: int
    moment: Moment | None
    cell: Cell | None


@dataclass(frozen=True)
class Choice:
    """An entry of a list: choosing it leads to `link`."""

    label: str
    link: str
    chosen: bool


def side_of(scene: Scene, run_id: str, name: str, prompt: int | None, *, first: bool) -> Side:
    """Return the sample of that file name; where there is none, the first or the last moment of a prompt."""
    shown = shown_run(scene, run_id)
    samples = samples_of(scene, shown)
    for (number, at), cell in (samples.cells or {}).items():
        if cell.name == name:
            return Side(shown, samples, number, at, cell)
    numbers = [number for number, _ in samples.prompts]
    chosen = prompt if prompt in numbers else next(iter(numbers), 0)
    there = [at for at in samples.moments if samples.at(chosen, at)]
    found = (there[0] if first else there[-1]) if there else None
    return Side(shown, samples, chosen, found, samples.at(chosen, found) if found else None)


def link_of(left: Side, right: Side, **changed: str) -> str:
    """Return the page's address for these two; `changed` are other values of its query (run, a, b, other, prompt)."""
    query = {
        "run": left.shown.id,
        "a": left.cell.name if left.cell else "",
        "b": right.cell.name if right.cell else "",
        "other": right.shown.id if right.shown.id != left.shown.id else "",
    }
    return "compare?" + urlencode({name: value for name, value in (query | changed).items() if value})


def moments_of(side: Side, link: Mapping[str, str], a: Side, b: Side, name: str) -> list[Choice]:
    """Return the moments of a side's prompt; `name` is which side it is, a or b."""
    found = [(at, side.samples.at(side.prompt, at)) for at in side.samples.moments]
    return [
        Choice(at.label, link_of(a, b, **link, **{name: cell.name}), at == side.moment)
        for at, cell in found
        if cell is not None
    ]


def prompts_of(a: Side, b: Side) -> list[Choice]:
    """Return the prompts of the left run, each at the moments that are shown now."""
    choices = []
    for number, text in a.samples.prompts:
        left = a.samples.at(number, a.moment) if a.moment else None
        right = b.samples.at(number, b.moment) if b.moment else None
        link = link_of(a, b, a=left.name if left else "", b=right.name if right else "", prompt=str(number))
        label = f"{number + 1}. {text}" if text else f"Prompt {number + 1}"
        choices.append(Choice(label, link, number == a.prompt))
    return choices


def runs_of(scene: Scene, a: Side, b: Side, name: str) -> list[Choice]:
    """Return the runs that either side can be of; another run keeps the prompt."""
    side, choices = (a if name == "a" else b), []
    trained = [run for run in records_of(scene).look() if run.record.plan.get("schedule")]
    for run in trained[:MOST_RUNS]:
        own = run.folder.path.name
        left, right = (own, b.shown.id) if name == "a" else (a.shown.id, own)
        changed = {"run": left, "other": "" if left == right else right, name: "", "prompt": str(a.prompt)}
        label = f"{run.name}, {moment(run.record.created)}"
        choices.append(Choice(label, link_of(a, b, **changed), own == side.shown.id))
    return choices


def values(scene: Scene, query: Query) -> dict[str, Any]:
    """Return what the page shows.

    Raises:
        RequestError: there is no such run.
    """
    wanted = query.get("prompt", "")
    prompt = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 6 else None
    a = side_of(scene, query.get("run", ""), query.get("a", ""), prompt, first=True)
    b = side_of(scene, query.get("other") or a.shown.id, query.get("b", ""), a.prompt, first=False)
    text = next((text for number, text in a.samples.prompts if number == a.prompt), "")
    return {
        "a": a,
        "b": b,
        "prompt": text,
        "plays": bool(a.cell and b.cell and (a.cell.plays or b.cell.plays)),
        "runs_a": runs_of(scene, a, b, "a"),
        "runs_b": runs_of(scene, a, b, "b"),
        "moments_a": moments_of(a, {"prompt": str(a.prompt)}, a, b, "a"),
        "moments_b": moments_of(b, {"prompt": str(a.prompt)}, a, b, "b"),
        "prompts": prompts_of(a, b),
        "swapped": link_of(b, a),
    }


COMPARE = View("compare", "Compare", values=values, in_menu=False)
