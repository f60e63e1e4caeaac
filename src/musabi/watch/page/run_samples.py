"""A run's samples on its page: prompt x checkpoint, small pictures made as they are looked at, and the whole files."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from musabi.errors import RequestError
from musabi.watch.page import thumbnails
from musabi.watch.page.html import render
from musabi.watch.page.inside import lies_in
from musabi.watch.page.run_shown import Shown, remember, shown_run
from musabi.watch.page.scene import Scene
from musabi.watch.page.stamp import stamp_of
from musabi.watch.page.thumbnail_answers import thumbnail_of
from musabi.watch.page.view import Query
from musabi.watch.samples import PICTURES, Moment, grid, read_prompts, read_sample, sample_files
from musabi.watch.story import plan_schedule

SAMPLE_FOLDER = "sample"
VIDEOS = frozenset({".mp4"})
LARGE = 768
"""The size of one checkpoint's pictures side by side; the grid's cells are smaller (see thumbnails)."""
MOST_MOMENTS = 10_000
SETTLE_SECONDS = 4.0
"""So long after a sample came its file may still be written, which its folder does not tell: then it is read again."""
KEPT = {"cache-control": "private, max-age=604800, immutable"}
"""Every address of a picture holds what tells its file from a later one of that name."""


@dataclass(frozen=True)
class Cell:
    """One sample: `name` is its file's, `version` another one where the file is written anew."""

    name: str
    path: Path
    version: str

    @property
    def plays(self) -> bool:
        return self.path.suffix.lower() in VIDEOS


@dataclass(frozen=True)
class Samples:
    """The samples of a run: `prompts` are (number from 0, text), `cells` are by prompt and moment."""

    prompts: tuple[tuple[int, str], ...] = ()
    moments: tuple[Moment, ...] = ()
    cells: Mapping[tuple[int, Moment], Cell] | None = None

    def at(self, prompt: int, moment: Moment) -> Cell | None:
        """Return the sample of a prompt at a moment, or None."""
        return (self.cells or {}).get((prompt, moment))

    @property
    def files(self) -> dict[str, Cell]:
        """All samples by their files' names."""
        return {cell.name: cell for cell in (self.cells or {}).values()}


def samples_of(scene: Scene, shown: Shown) -> Samples:
    """Return a run's samples; its folder is read again only where something was added to it."""
    prompts = Path(str(shown.record.job.get("sample_prompts", "")))
    folder = stamp_of(shown.output / SAMPLE_FOLDER)
    settled = abs(time.time() - folder[0] / 1e9) > SETTLE_SECONDS
    signature = (shown.signature, folder, stamp_of(prompts), settled)
    return remember(scene, ("samples", shown.id), signature, lambda: _read(scene, shown, prompts))


def _read(scene: Scene, shown: Shown, prompt_file: Path) -> Samples:
    record, name = shown.record, shown.name
    folder = shown.output / SAMPLE_FOLDER
    found = sample_files(
        shown.lineage.files, folder, name, record.lineage_started, suffixes=PICTURES | VIDEOS
    )
    files = {file.path: file for file in found if is_ours(scene, file.path)}
    texts = read_prompts(prompt_file) if is_ours(scene, prompt_file) else []
    per_epoch = plan_schedule(record)["steps_per_epoch"]
    arranged = grid([read_sample(file, name, per_epoch) for file in files.values()], len(texts), MOST_MOMENTS)
    rows = tuple((number, texts[number] if number < len(texts) else "") for number in arranged.prompts)
    cells = {place: Cell(path.name, path, _version(path)) for place, path in arranged.cells.items()}
    return Samples(rows, arranged.moments, cells)


def is_ours(scene: Scene, path: Path) -> bool:
    """Tell whether a file that a record names lies in the workspace, or where OUTPUT_DIR says, links followed."""
    return lies_in(path, scene.space.root, scene.settings.output_dir)


def samples_part(scene: Scene, query: Query) -> str:
    """Return the grid of all samples."""
    shown = shown_run(scene, query.get("id", ""))
    found = samples_of(scene, shown)
    key = ("samples html", shown.id)
    return remember(
        scene, key, (found, shown.signature), lambda: render("run_samples", values_of(shown, found))
    )


def values_of(shown: Shown, found: Samples) -> dict[str, object]:
    """Return what the grid's template shows."""
    return {
        "run": shown.id,
        "moments": [moment.label for moment in found.moments],
        "rows": [
            (number, text, [found.at(number, moment) for moment in found.moments])
            for number, text in found.prompts
        ],
        "goes_on": shown.goes_on,
        "samples_asked": shown.record.job.get("sample_every_n_epochs"),
    }


async def show_sample(request: Request) -> Response:
    """Answer with a sample: whole, or as a picture of `px` pixels at most; of a video then its first frame.

    Raises:
        RequestError: the run has no such sample, or it can't be read.
    """
    scene: Scene = request.app.state.scene
    query = request.query_params
    path = await anyio.to_thread.run_sync(_sample_file, scene, query.get("id", ""), query.get("name", ""))
    return await picture(scene, path, query.get("px", ""))


def _sample_file(scene: Scene, run_id: str, name: str) -> Path:
    found = samples_of(scene, shown_run(scene, run_id)).files.get(name)
    if found is None or not found.path.is_file():
        raise RequestError("The run has no such sample, or it is gone. Load the page again.")
    return found.path


async def picture(scene: Scene, path: Path, px: str) -> Response:
    """Answer with a picture or video of a run: whole, or where `px` says so a small one.

    Raises:
        RequestError: it can't be read.
    """
    if not px:
        return FileResponse(path, media_type=thumbnails.KINDS[path.suffix.lower()], headers=KEPT)
    edge = LARGE if px == str(LARGE) else thumbnails.EDGE
    target = await thumbnail_of(scene.thumbnails, path, edge)
    return FileResponse(target, media_type="image/jpeg", headers=KEPT)


def _version(path: Path) -> str:
    return f"{stamp_of(path)[0]:x}"[-10:]


ROUTES = (Route("/sample", show_sample),)
