"""A run's checkpoints on its page: size, loss near it, both forms to take away, and the grids that were made of it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import anyio
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from musabi.errors import RequestError
from musabi.watch.checkpoints import CONVERTED_FOLDER, Checkpoint, LoraFile, checkpoints
from musabi.watch.page.html import render
from musabi.watch.page.run_samples import is_ours, picture
from musabi.watch.page.run_shown import Shown, losses_of, remember, shown_run
from musabi.watch.page.scene import Scene
from musabi.watch.page.stamp import stamp_of
from musabi.watch.page.view import Query
from musabi.watch.series import Point
from musabi.watch.story import plan_schedule

GRID_FOLDER = "grid"
MOST_GRIDS = 40
NATIVE, COMFYUI = "native", "comfyui"
WINDOW = 20
"""Over so many steps the loss near a checkpoint is averaged where an epoch has fewer."""


@dataclass(frozen=True)
class Row:
    """A checkpoint as the table shows it; `step` and `loss` are None where unknown."""

    checkpoint: Checkpoint
    step: int | None
    loss: float | None

    @property
    def native(self) -> LoraFile | None:
        return _there(self.checkpoint.native)

    @property
    def converted(self) -> LoraFile | None:
        return _there(self.checkpoint.converted)


@dataclass(frozen=True)
class GridFile:
    """A sheet that `musabi grid` drew."""

    name: str
    path: Path
    version: str


def rows_of(scene: Scene, shown: Shown) -> list[Row]:
    """Return a run's checkpoints, the newest first; those that are gone are left out."""
    folders = (stamp_of(shown.output), stamp_of(shown.output / CONVERTED_FOLDER))
    return remember(scene, ("files", shown.id), (shown.signature, *folders), lambda: _rows(scene, shown))


def _rows(scene: Scene, shown: Shown) -> list[Row]:
    schedule = plan_schedule(shown.record)
    losses = losses_of(scene, shown.lineage)
    files = [file for file in shown.lineage.files if is_ours(scene, file.path)]
    rows = []
    for checkpoint in reversed(checkpoints(files, shown.name)):
        step = step_of(checkpoint, schedule["steps_per_epoch"], schedule["steps"])
        row = Row(checkpoint, step, loss_near(losses, step, schedule["steps_per_epoch"]))
        if row.native or row.converted:
            rows.append(row)
    return rows


def step_of(checkpoint: Checkpoint, per_epoch: int, steps: int) -> int | None:
    """Return the optimizer step that a checkpoint was saved at, or None where that is unknown."""
    if checkpoint.step is not None:
        return checkpoint.step
    if checkpoint.epoch is not None:
        return checkpoint.epoch * per_epoch or None
    return steps or None


def loss_near(losses: Sequence[Point], step: int | None, per_epoch: int) -> float | None:
    """Return the mean loss of the epoch (at least `WINDOW` steps) before a step, or None where none is known."""
    if step is None:
        return None
    first = step - max(per_epoch, WINDOW)
    near = [loss for at, loss in losses if first < at <= step and math.isfinite(loss)]
    return sum(near) / len(near) if near else None


def grids_of(scene: Scene, shown: Shown) -> list[GridFile]:
    """Return the sheets of a run's name, the newest first; those of its checkpoints and choices have more behind it."""
    folder = shown.output / GRID_FOLDER

    def read() -> list[GridFile]:
        if not is_ours(scene, folder) or not folder.is_dir():
            return []
        own = re.compile(re.escape(shown.name) + r"(-.*)?\.png")
        found = [path for path in folder.iterdir() if own.fullmatch(path.name)]
        # Drawing one again replaces it, which the folder's own time tells.
        stamped = sorted(((stamp_of(path), path) for path in found if path.is_file()), reverse=True)
        return [GridFile(path.name, path, f"{stamp[0]:x}"[-10:]) for stamp, path in stamped[:MOST_GRIDS]]

    return remember(scene, ("grids", shown.id), (stamp_of(folder), shown.name), read)


def files_part(scene: Scene, query: Query) -> str:
    """Return the table of checkpoints."""
    shown = shown_run(scene, query.get("id", ""))
    rows = rows_of(scene, shown)

    def make() -> str:
        total = sum(file.size or 0 for row in rows for file in (row.native, row.converted) if file)
        return render(
            "run_files",
            {"run": shown.id, "rows": rows, "total": total, "goes_on": shown.goes_on, "save_as": name_of},
        )

    return remember(scene, ("files html", shown.id), (rows, shown.signature), make)


def grids_part(scene: Scene, query: Query) -> str:
    """Return the grids that were made of the run."""
    shown = shown_run(scene, query.get("id", ""))
    return render("run_grids", {"run": shown.id, "grids": grids_of(scene, shown)})


def checkpoint_of(scene: Scene, shown: Shown, stem: str) -> Row:
    """Return a run's checkpoint by its files' name without ending.

    Raises:
        RequestError: the run has none of that name on disk.
    """
    row = next((row for row in rows_of(scene, shown) if row.checkpoint.stem == stem), None)
    if row is None:
        raise RequestError("The run has no such checkpoint, or it is gone. Load the page again.")
    return row


def take_file(request: Request) -> Response:
    """Answer with a checkpoint to save: as it was trained, or with `form` comfyui as ComfyUI loads it.

    Behind JupyterLab its own file server is named instead: its proxy ends an answer at 100 MB.

    Raises:
        RequestError: there is no such file.
    """
    scene: Scene = request.app.state.scene
    query = request.query_params
    row = checkpoint_of(scene, shown_run(scene, query.get("id", "")), query.get("stem", ""))
    wanted = row.converted if query.get("form") == COMFYUI else row.native
    if wanted is None or not wanted.path.is_file():
        raise RequestError(
            "That form of the checkpoint is not there. Convert it first, or take the other one."
        )
    if (elsewhere := at_jupyter(wanted.path, scene.jupyter_root)) is not None:
        return RedirectResponse(elsewhere, 303)
    return FileResponse(wanted.path, media_type="application/octet-stream", filename=name_of(wanted, row))


def at_jupyter(path: Path, root: Path | None) -> str | None:
    """Return a file's address at JupyterLab, from the page's own, or None where it hands that file out to nobody."""
    if root is None or not path.is_relative_to(root):
        return None
    parts = path.relative_to(root).parts
    if any(part.startswith(".") for part in parts):  # a hidden one, which JupyterLab refuses
        return None
    return "../files/" + "/".join(quote(part, safe="") for part in parts)


def name_of(file: LoraFile, row: Row) -> str:
    """Return the name to save a file under: the converted one must not be taken for its native twin."""
    return f"{file.path.stem}_comfyui.safetensors" if file is row.converted else file.path.name


async def show_grid(request: Request) -> Response:
    """Answer with a grid: whole, or small.

    Raises:
        RequestError: the run has no such grid.
    """
    scene: Scene = request.app.state.scene
    query = request.query_params
    path = await anyio.to_thread.run_sync(_grid_file, scene, query.get("id", ""), query.get("name", ""))
    return await picture(scene, path, query.get("px", ""))


def _grid_file(scene: Scene, run_id: str, name: str) -> Path:
    found = next((one for one in grids_of(scene, shown_run(scene, run_id)) if one.name == name), None)
    if found is None or not is_ours(scene, found.path):
        raise RequestError("The run has no such grid, or it is gone. Load the page again.")
    return found.path


def _there(file: LoraFile | None) -> LoraFile | None:
    return file if file is not None and file.size is not None else None


ROUTES = (Route("/checkpoint", take_file), Route("/grid", show_grid))
