"""The captions of the dataset, as a browser asks for them: read, saved one by one, changed together, taken back."""

import gzip
import json
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from musabi.errors import RequestError
from musabi.watch.page import caption_changes
from musabi.watch.page.caption_changes import Outcome, Step, Undoable, history_of
from musabi.watch.page.caption_files import Newer, save_caption
from musabi.watch.page.dataset_catalogue import LEADS_OUT, Entry, catalogue_of
from musabi.watch.page.inside import lies_in
from musabi.watch.page.json_body import json_of
from musabi.watch.page.scene import Scene
from musabi.watch.page.view import Given

MOST_SAMPLES = 6
ZIPPED_FROM = 20_000
"""Bytes from which an answer is packed."""


async def captions(request: Request) -> Response:
    """Answer with all captions, or with those that changed after the version `since`."""
    scene = request.app.state.scene
    since = request.query_params.get("since", "")

    def answer() -> Response:
        changes = catalogue_of(scene).look(scene).since(since)
        return zipped(request, changes | {"undo": history_of(scene).newest()})

    return await anyio.to_thread.run_sync(answer)


async def caption(request: Request) -> Response:
    """Save one caption: {"file", "text", "hash": of what it began from}. 409 with the newer one where there is one."""
    given = await json_of(request)
    try:
        return JSONResponse(await anyio.to_thread.run_sync(_save, request.app.state.scene, given))
    except Newer as newer:
        now = {"text": newer.caption.text, "hash": newer.caption.hash}
        return JSONResponse({"ok": False, "message": str(newer), "now": now}, 409)


def _save(scene: Scene, given: Given) -> dict[str, Any]:
    entry = _entry(scene, str(given.get("file")))
    file = entry.picture.caption_file
    if file is None or entry.caption.problem:
        raise RequestError(entry.caption.problem or "This caption lies in a JSONL file. Change it there.")
    if not lies_in(file, scene.space.root):  # it may have become a link since the last look
        raise RequestError(LEADS_OUT)
    saved = save_caption(file, str(given.get("text", "")), str(given.get("hash", "")))
    history = history_of(scene)
    if saved.caption.hash != given.get("hash"):
        changed = Undoable(entry.picture.file, file, saved.before, saved.caption.hash)
        history.add(Step(f"caption of {entry.picture.path.name}", (changed,)))
    return {"ok": True, "text": saved.caption.text, "hash": saved.caption.hash, "undo": history.newest()}


def _entry(scene: Scene, name: str) -> Entry:
    catalogue = catalogue_of(scene)
    entry = catalogue.entries.get(name) or catalogue.look(scene, anew=True).entries.get(name)
    if entry is None:
        raise RequestError("This picture is not in the dataset any more. Load the page again.")
    return entry


async def plan(request: Request) -> Response:
    """Answer with what a change to all captions would do: {"kind", ...}, see caption_changes.CHANGES."""
    given = await json_of(request)
    return JSONResponse(await anyio.to_thread.run_sync(_plan, request.app.state.scene, given))


def _plan(scene: Scene, given: Given) -> dict[str, Any]:
    title, change = caption_changes.change_of(given)
    entries = catalogue_of(scene).look(scene, anew=True).entries.values()
    own = [one for one in entries if one.picture.caption_file is not None]
    captions = ((one.picture.file, one.picture.caption_file, one.caption) for one in own)
    planned = caption_changes.plan(
        ((name, file, text) for name, file, text in captions if file), title, change
    )
    history_of(scene).show(planned)
    samples = [
        {"file": row.name, "before": row.before, "after": row.after} for row in planned.rows[:MOST_SAMPLES]
    ]
    return {
        "ok": True,
        "id": planned.id,
        "title": title,
        "changes": len(planned.rows),
        "of": sum(bool(one.caption.hash) for one in own),
        "without": sum(not one.caption.hash for one in own),
        "samples": samples,
    }


async def carry_out(request: Request) -> Response:
    """Carry out a change that was shown: {"id"}."""
    given = await json_of(request)
    return JSONResponse(await anyio.to_thread.run_sync(_carry_out, request.app.state.scene, given))


def _carry_out(scene: Scene, given: Given) -> dict[str, Any]:
    history = history_of(scene)
    planned = history.take(str(given.get("id")))
    try:
        outcome = caption_changes.carry_out(planned, history)
    finally:
        catalogue_of(scene).look(scene, anew=True)
    return _said(scene, outcome, "changed")


async def undo(request: Request) -> Response:
    """Take the newest change back, if it is the one that the page shows: {"id"}."""
    given = await json_of(request)
    return JSONResponse(await anyio.to_thread.run_sync(_undo, request.app.state.scene, given))


def _undo(scene: Scene, given: Given) -> dict[str, Any]:
    step = history_of(scene).take_back(str(given.get("id")))
    try:
        outcome = caption_changes.take_back(step, history_of(scene))
    finally:
        catalogue_of(scene).look(scene, anew=True)
    return _said(scene, outcome, "put back as before")


def _said(scene: Scene, outcome: Outcome, done: str) -> dict[str, Any]:
    count = f"{outcome.changed:,} caption" + ("" if outcome.changed == 1 else "s")
    message = f"{count} {done}." if outcome.changed else f"No caption {done}."
    if outcome.left:
        names = ", ".join(name.rpartition("/")[2] for name in outcome.left[:5])
        more = f" and {len(outcome.left) - 5:,} more" if len(outcome.left) > 5 else ""
        message += f" Left alone, because they were changed elsewhere meanwhile: {names}{more}."
    return {
        "ok": True,
        "message": message,
        "changed": outcome.changed,
        "left": list(outcome.left),
        "undo": history_of(scene).newest(),
    }


def zipped(request: Request, value: object) -> Response:
    """Return JSON, packed where it is long and the browser takes that."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    headers = {"vary": "accept-encoding"}
    if len(data) >= ZIPPED_FROM and "gzip" in request.headers.get("accept-encoding", ""):
        data = gzip.compress(data, 1)
        headers["content-encoding"] = "gzip"
    return Response(data, media_type="application/json", headers=headers)


ROUTES = (
    Route("/captions", captions),
    Route("/caption", caption, methods=["POST"]),
    Route("/captions-plan", plan, methods=["POST"]),
    Route("/captions-change", carry_out, methods=["POST"]),
    Route("/captions-undo", undo, methods=["POST"]),
)
