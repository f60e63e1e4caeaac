"""Answers a browser that uploads: how far a file is, its next chunk, and all of it into the dataset.

What is whole goes to `musabi fetch`, which puts nothing over a file that is there.
"""

import json
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from musabi.errors import ExitCode, RequestError
from musabi.watch.page import dataset_upload_parts as parts
from musabi.watch.page.dataset_place import main_folder
from musabi.watch.page.dataset_upload_parts import Batch, Coming, Misfit
from musabi.watch.page.doing import Doing, Task
from musabi.watch.page.json_body import json_of
from musabi.watch.page.scene import Scene

MOST_BODY = 2 * parts.CHUNK
MOST_FILES = 2_000
"""Files that are brought in together."""
WAIT_SECONDS = 20.0
SWEEP_SECONDS = 600.0
AT_WORK = "uploads being brought in"
SWEPT = "uploads swept"
MOST_KEPT = 30
NEXT_STEP = re.compile(r"\s*Next: musabi check.*$")


def folder_of(scene: Scene) -> Path:
    """Return where parts lie: hidden, on the volume."""
    folder = scene.space.state / "uploads"
    if time.monotonic() - scene.memory.get(SWEPT, -SWEEP_SECONDS) >= SWEEP_SECONDS:
        scene.memory[SWEPT] = time.monotonic()
        parts.sweep(folder)
    return folder


async def show(request: Request) -> Response:
    """Answer how far a file is; without a name, what is unfinished."""
    scene: Scene = request.app.state.scene
    if "name" not in request.query_params:
        return JSONResponse(await anyio.to_thread.run_sync(_unfinished, scene))
    coming = parts.coming_of(request.query_params)
    here = await anyio.to_thread.run_sync(lambda: parts.bytes_here(folder_of(scene), coming))
    return JSONResponse({"offset": here, "chunk": parts.CHUNK})


async def take(request: Request) -> Response:
    """Take a chunk of a file: ?name=&size=&modified=&offset=, the bytes as the body."""
    scene: Scene = request.app.state.scene
    coming = parts.coming_of(request.query_params)
    offset = request.query_params.get("offset", "")
    if not offset.isascii() or not offset.isdigit():
        raise RequestError("The chunk does not say where it begins. Load the page again.")
    try:
        piece = await _body(request)
    except ClientDisconnect:  # nothing of a torn chunk is kept
        return Response(status_code=400)
    try:
        here = await anyio.to_thread.run_sync(
            lambda: parts.append(folder_of(scene), coming, int(offset), piece)
        )
    except Misfit as problem:
        return JSONResponse({"ok": False, "message": str(problem), "offset": problem.offset}, 409)
    return JSONResponse({"ok": True, "offset": here})


async def take_many(request: Request) -> Response:
    """Take small files in one go: a line of JSON that lists them, then their bytes one after the other."""
    scene: Scene = request.app.state.scene
    try:
        body = await _body(request)
    except ClientDisconnect:
        return Response(status_code=400)
    head, _, content = body.partition(b"\n")
    refused = await anyio.to_thread.run_sync(_take_all, scene, head, content)
    return JSONResponse({"ok": True, "refused": refused})


def _take_all(scene: Scene, head: bytes, content: bytes) -> list[dict[str, str]]:
    """Write the files; return those that can't come into a dataset, and why."""
    refused = []
    at = 0
    for told in _listed(head):
        size = told.get("size")
        if not isinstance(size, int) or not 0 <= size <= len(content) - at:
            raise RequestError("The sizes do not fit what came. Load the page again.")
        piece, at = content[at : at + size], at + size
        try:
            coming = parts.coming_of(told)
            here = parts.bytes_here(folder_of(scene), coming)
            if here < size or not size:
                parts.append(folder_of(scene), coming, here, piece[here:])
        except RequestError as problem:
            name = str(told.get("name", "")).encode("utf-8", "replace").decode()
            refused.append({"name": name, "message": str(problem)})
    return refused


def _listed(head: bytes) -> list[Mapping[str, Any]]:
    try:
        listed = json.loads(head)
    except ValueError:
        listed = None
    if not isinstance(listed, list) or not all(isinstance(told, dict) for told in listed):
        raise RequestError("The list of files can't be read. Load the page again.")
    return listed


async def forget(request: Request) -> Response:
    """Remove what has come of files that were cancelled: {"files": [{"name", "size", "modified"}, ...]}."""
    scene: Scene = request.app.state.scene
    files = _told((await json_of(request)).get("files"))

    def drop() -> None:
        for coming in files:
            parts.drop(folder_of(scene), coming)

    await anyio.to_thread.run_sync(drop)
    return JSONResponse({"ok": True, "message": "What had come of it is removed."})


async def finish(request: Request) -> Response:
    """Bring whole files in: {"files": [{"name", "size", "modified"}, ...]}; {"task": ID} asks for the end."""
    given = await json_of(request)
    answer = partial(_finish, request.app.state.scene, request.app.state.doing, given)
    return await anyio.to_thread.run_sync(answer)


@dataclass(frozen=True)
class Handed:
    """Whole files that `musabi fetch` works on; `tidy` is set when it has ended and its files are gone."""

    task: Task
    files: frozenset[Coming]
    tidy: threading.Event = field(default_factory=threading.Event)


def _finish(scene: Scene, doing: Doing, given: Mapping[str, Any]) -> Response:
    handed = _handed(scene, doing, given)
    over, task = handed.tidy.wait(WAIT_SECONDS), handed.task
    failed = bool(over and task.code)
    said = {"ok": not failed, "over": over, "task": task.id, "message": task.message}
    return JSONResponse(said, 422 if failed else 200)


def _told(files: object) -> list[Coming]:
    if not isinstance(files, list) or len(files) > MOST_FILES:
        raise RequestError("The list of files can't be read. Load the page again.")
    return list(dict.fromkeys(parts.coming_of(one) for one in files if isinstance(one, dict)))


def _handed(scene: Scene, doing: Doing, given: Mapping[str, Any]) -> Handed:
    at_work: dict[str, Handed] = scene.memory.setdefault(AT_WORK, {})
    if "task" in given:
        if str(given["task"]) not in at_work:
            raise RequestError("The server was started anew meanwhile. Look whether the images are there.")
        return at_work[str(given["task"])]
    told = _told(given.get("files"))
    try:
        handed = bring_in(scene, doing, told)
    except RequestError:
        # An answer that got lost on its way is asked for again.
        same = [one for one in at_work.values() if one.files == frozenset(told)]
        if not same:
            raise
        return same[-1]
    at_work[handed.task.id] = handed
    for old in list(at_work)[:-MOST_KEPT]:
        del at_work[old]
    return handed


def bring_in(scene: Scene, doing: Doing, files: Sequence[Coming]) -> Handed:
    """Start `musabi fetch` on whole files. They are removed when they are in the dataset or can't be used.

    Raises:
        RequestError: one of them is not whole.
        OSError: it can't be started.
    """
    batch = parts.gather(folder_of(scene), files)
    title = f"Bring in {files[0].name}" if len(files) == 1 else f"Bring in {len(files):,} files"
    try:
        words = ["fetch", str(batch.folder), "--to", str(main_folder(scene).path)]
        task = doing.start(title, words, "Brought in.")
    except OSError:
        batch.put_back()
        raise
    handed = Handed(task, frozenset(files))
    threading.Thread(
        target=_tidy, args=(handed, batch, scene.space.root), name="uploads", daemon=True
    ).start()
    return handed


def _tidy(handed: Handed, batch: Batch, below: Path) -> None:
    """Wait for the verb's end, say what came of it, and remove what is not needed any more.

    Paths `below` the workspace are shown without it.
    """
    task = handed.task
    task.over.wait()
    lines = [line.replace(f"{batch.folder}/", "").replace(f"{below}/", "") for line in task.lines]
    task.lines.clear()
    task.lines.extend(lines)
    if task.code in (ExitCode.DONE, ExitCode.WRONG_REQUEST):
        batch.remove()
    else:
        batch.put_back()  # a full disk, say: another try goes on from here
    if task.code == 0:
        task.done = in_words(lines)
    handed.tidy.set()


def in_words(lines: Sequence[str]) -> str:
    """Return what the verb said, without its advice for a terminal."""
    said = [NEXT_STEP.sub("", line) for line in lines]
    return "\n".join(line for line in said if line and not line.startswith("looked at ")) or "Brought in."


def _unfinished(scene: Scene) -> dict[str, object]:
    found = parts.unfinished(folder_of(scene))
    return {
        "unfinished": [
            {"name": one.name, "size": one.size, "modified": one.modified, "offset": here}
            for one, here in found
        ]
    }


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BODY:
            raise RequestError("That is too much at once. Load the page again.")
    return bytes(body)


ROUTES = (
    Route("/upload", show, methods=["GET"]),
    Route("/upload", take, methods=["PUT", "POST"]),
    Route("/upload-forget", forget, methods=["POST"]),
    Route("/upload-many", take_many, methods=["POST"]),
    Route("/upload-finish", finish, methods=["POST"]),
)
