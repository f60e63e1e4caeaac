"""What the page does with the bin of a dataset: puts images in, brings them back, empties it, lists it."""

import contextlib
import shutil
import time
from functools import partial
from pathlib import Path

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from musabi.dataset.incoming import WANTED, kind_of
from musabi.errors import RequestError
from musabi.watch.page.dataset_bin_files import NAME, Binned, binned, put_away, restore
from musabi.watch.page.dataset_place import DatasetFolder, dataset_folders, name_of
from musabi.watch.page.html import render
from musabi.watch.page.inside import inside
from musabi.watch.page.json_body import json_of
from musabi.watch.page.scene import Scene
from musabi.watch.page.view import Query
from musabi.watch.story import moment

MOST_SHOWN = 60
MOST_FILES = 5_000
KEPT = "bin"
SETTLED_SECONDS = 2.0


def picked(scene: Scene, name: str) -> tuple[DatasetFolder, Path]:
    """Return the file of a dataset that the browser names, and the dataset's folder.

    Raises:
        RequestError: it is no image, video or caption that lies in a dataset's folder in the workspace.
    """
    path = inside(scene.space.root, name)
    home = path.parent.resolve()
    for folder in dataset_folders(scene):
        if folder.path.resolve() == home and kind_of(path.name) in WANTED:
            return folder, folder.path / path.name
    raise RequestError(f'"{name[:80]}" is no file of the dataset.')


async def put(request: Request) -> Response:
    """Move files into the bin: {"files": [NAME, ...]}, names below the workspace."""
    given = await json_of(request)
    return await anyio.to_thread.run_sync(partial(_put, request.app.state.scene, given.get("files")))


def _put(scene: Scene, names: object) -> Response:
    if not isinstance(names, list) or not names or len(names) > MOST_FILES:
        raise RequestError("Choose the images that go to the bin.")
    done: list[str] = []
    failed: list[str] = []
    for folder, file in [picked(scene, str(name)) for name in names]:  # all looked at before the first moves
        try:
            put_away(folder, file)
            done.append(name_of(scene, file))
        except RequestError as problem:
            failed.append(str(problem))
        except OSError as problem:
            failed.append(f"{file.name} can't be moved: {problem.strerror}.")
    said = f"{_count(len(done))} in the bin." if done else ""
    message = "\n".join([*([said] if said else []), *failed[:5]])
    return JSONResponse({"ok": not failed, "message": message, "files": done}, 422 if failed else 200)


async def bring_back(request: Request) -> Response:
    """Restore from the bin: {"ids": [ID, ...]}."""
    given = await json_of(request)
    return await anyio.to_thread.run_sync(partial(_bring_back, request.app.state.scene, given.get("ids")))


def _bring_back(scene: Scene, ids: object) -> Response:
    wanted = set(map(str, ids)) if isinstance(ids, list) else set()
    names: list[str] = []
    for folder in dataset_folders(scene):
        for one in binned(folder.path):
            if key_of(scene, one) in wanted:
                names += restore(one, folder.path)
    if not names:
        raise RequestError("That is not in the bin any more.")
    return JSONResponse(
        {"ok": True, "message": f"Back in the dataset: {', '.join(names[:6])}.", "files": names}
    )


async def empty(request: Request) -> Response:
    """Remove what is in the bin, for good."""
    await json_of(request)
    return await anyio.to_thread.run_sync(partial(_empty, request.app.state.scene))


def _empty(scene: Scene) -> Response:
    gone = [one for folder in dataset_folders(scene) for one in binned(folder.path)]
    for one in gone:
        shutil.rmtree(one.folder)
    for folder in dataset_folders(scene):
        with contextlib.suppress(OSError):
            (folder.path / NAME).rmdir()
    return JSONResponse({"ok": True, "message": f"{_count(len(gone))} removed for good."})


def key_of(scene: Scene, one: Binned) -> str:
    """Return what tells an entry from all others, in whichever dataset's bin it lies."""
    return name_of(scene, one.folder) or str(one.folder)


def part(scene: Scene, _query: Query) -> str:
    """Return the list of what is in the bin."""
    found = [one for folder in dataset_folders(scene) for one in _kept(scene, folder.path)]
    if not found:
        return ""
    rows = [
        {
            "id": key_of(scene, one),
            "name": one.name,
            "caption": one.with_caption,
            "when": moment(one.when),
        }
        for one in found[:MOST_SHOWN]
    ]
    return render("dataset_bin", {"rows": rows, "count": len(found), "more": len(found) - len(rows)})


def _kept(scene: Scene, folder: Path) -> list[Binned]:
    """Return the bin of a folder; its time says whether it is another than at the last look."""
    kept = scene.memory.setdefault(KEPT, {})
    try:
        changed = (folder / NAME).stat().st_mtime_ns
    except OSError:
        return []
    before = kept.get(folder)
    if before is not None and before[0] == changed:
        found: list[Binned] = before[1]
        return found
    found = binned(folder)
    if time.time() - changed / 1e9 > SETTLED_SECONDS:
        kept[folder] = (changed, found)
    return found


def _count(number: int) -> str:
    return f"{number:,} image{' is' if number == 1 else 's are'}"


ROUTES = (
    Route("/bin", put, methods=["POST"]),
    Route("/bin-restore", bring_back, methods=["POST"]),
    Route("/bin-empty", empty, methods=["POST"]),
)
