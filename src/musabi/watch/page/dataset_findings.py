"""What the check found, in words: whether the dataset is ready, what is wrong with it and what to do."""

from collections.abc import Mapping
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from musabi.dataset.finding import count
from musabi.watch.page.dataset_check import Checked, checker
from musabi.watch.page.html import render
from musabi.watch.page.json_body import json_of
from musabi.watch.page.scene import Scene
from musabi.watch.page.view import Given, Query, Verb
from musabi.watch.status_words import clock

TITLES = {"error": "Stops a training", "warning": "Worth mending", "note": "Worth knowing"}
MOST_SHOWN = 40


def part(scene: Scene, _query: Query) -> str:
    """Return the summary: the headline, the numbers, then each finding with its mend."""
    held = checker(scene)
    newest = held.newest()
    return render("dataset_check", summary(newest, working=held.working, below=f"{scene.space.root}/"))


def summary(checked: Checked, *, working: bool, below: str = "\0") -> dict[str, Any]:
    """Return what the template shows; paths are shown as they are `below` the workspace."""
    report = checked.report
    found = [one | {"message": one["message"].replace(below, "")} for one in report.get("findings", [])]
    groups = [
        (title, level, [one for one in found if one["level"] == level]) for level, title in TITLES.items()
    ]
    return {
        "working": working,
        "problem": checked.problem.replace(below, ""),
        "when": clock(checked.at) if checked.at else "",
        "report": report,
        "headline": headline(report),
        "numbers": numbers(report),
        "groups": [
            (title, level, each[:MOST_SHOWN], len(each) - MOST_SHOWN) for title, level, each in groups if each
        ],
        "fixable": any(one.get("mended_by") == "musabi check --fix" for one in found),
        "uncaptioned": any(one.get("mended_by") == "musabi caption" for one in found),
    }


def headline(report: Mapping[str, Any]) -> tuple[str, str]:
    """Return whether it is ready to train, in words, and how good that is."""
    found = report.get("findings", [])
    errors = sum(one["level"] == "error" for one in found)
    warnings = sum(one["level"] == "warning" for one in found)
    if errors:
        return f"{count(errors, 'error')} would stop a training.", "bad"
    if warnings:
        return f"Ready to train, with {count(warnings, 'warning')}.", "warn"
    return "Ready to train.", "good"


def numbers(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what there is to know in numbers, each with its name."""
    if not report:
        return []
    rows = [
        ("Checked for", str(report.get("model") or "")),
        ("Trained on", f"{report['images']:,}"),
        ("Left out", f"{report['left_out']:,}" if report.get("left_out") else ""),
        ("Steps an epoch", f"{report['steps_per_epoch']:,}"),
    ]
    return [(name, value) for name, value in rows if value]


def mend_words(_scene: Scene, _given: Given) -> list[str]:
    """Return the arguments that make a mended copy of the dataset."""
    return ["check", "--fix"]


async def show(request: Request) -> Response:
    """Answer with what was found, as JSON."""
    scene: Scene = request.app.state.scene
    held = checker(scene)
    newest = await anyio.to_thread.run_sync(held.newest)
    files = {
        name: [{"level": one.level, "words": one.message} for one in each]
        for name, each in newest.by_file.items()
    }
    words, level = (
        headline(newest.report) if newest.report else (newest.problem, "bad" if newest.problem else "")
    )
    return JSONResponse(
        {"at": newest.at, "working": held.working, "headline": words, "level": level, "files": files}
    )


async def again(request: Request) -> Response:
    """Check once more."""
    await json_of(request)
    checker(request.app.state.scene).ask()
    return JSONResponse({"ok": True, "message": "The dataset is being checked."})


VERBS: Mapping[str, Verb] = {
    "mend": Verb(
        "Make a mended copy",
        mend_words,
        long=True,
        done="The mended copy is made. What it said names its folder and its dataset TOML.",
    ),
}
ROUTES = (Route("/findings", show), Route("/check-again", again, methods=["POST"]))
