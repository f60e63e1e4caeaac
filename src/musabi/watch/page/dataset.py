"""The view of the dataset: its pictures in a grid with captions, and what is made of the other parts of its page."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from musabi.watch.page import (
    dataset_bin,
    dataset_buckets,
    dataset_captioning,
    dataset_captions,
    dataset_duplicates,
    dataset_findings,
    dataset_uploads,
    thumbnails,
)
from musabi.watch.page.dataset_catalogue import catalogue_of, without_text
from musabi.watch.page.html import render
from musabi.watch.page.scene import Scene
from musabi.watch.page.thumbnail_answers import thumbnail_of
from musabi.watch.page.view import Query, View

FOREVER = "private, max-age=31536000, immutable"
"""An address with a picture's time in it never shows another picture."""


def _images(scene: Scene, _query: Query) -> str:
    catalogue = catalogue_of(scene).look(scene)
    entries = catalogue.entries.values()
    return render(
        "dataset_images",
        {
            "version": catalogue.version,
            "images": sum(not one.picture.is_video for one in entries),
            "videos": sum(one.picture.is_video for one in entries),
            "without": without_text(entries),
            "remark": catalogue.found.remark,
        },
    )


def _values(scene: Scene, _query: Query) -> dict[str, Any]:
    return {"trigger_word": scene.settings.trigger_word or ""}


async def thumbnail(request: Request) -> Response:
    """Answer with a small picture of `file`, made if it is not there yet. `v` stands for its time."""
    scene, query = request.app.state.scene, request.query_params
    picture = await _picture_file(request)
    kept = await thumbnail_of(scene.thumbnails, picture)
    headers = {"cache-control": FOREVER if query.get("v") else "no-cache"}
    return FileResponse(kept, media_type="image/jpeg", headers=headers)


async def picture(request: Request) -> Response:
    """Answer with a picture or video itself, if browsers show its kind."""
    file = await _picture_file(request)
    kind = thumbnails.KINDS.get(file.suffix.lower())
    headers = {
        "cache-control": "no-cache",
        "content-disposition": f"inline; filename*=utf-8''{quote(file.name)}",
    }
    if kind is None:
        return PlainTextResponse(f"Browsers do not show {file.suffix} files.\n", 415)
    return FileResponse(file, media_type=kind, headers=headers)


async def _picture_file(request: Request) -> Path:
    root, name = request.app.state.scene.space.root, request.query_params.get("file", "")
    return await anyio.to_thread.run_sync(thumbnails.picture_file, root, name)


ROUTES = (Route("/thumbnail", thumbnail), Route("/picture", picture))

DATASET = View(
    "dataset",
    "Dataset",
    parts={
        "images": _images,
        "check": dataset_findings.part,
        "buckets": dataset_buckets.part,
        "duplicates": dataset_duplicates.part,
        "bin": dataset_bin.part,
        "captioning": dataset_captioning.part,
    },
    verbs={**dataset_captioning.VERBS, **dataset_findings.VERBS},
    routes=(
        *ROUTES,
        *dataset_captions.ROUTES,
        *dataset_uploads.ROUTES,
        *dataset_bin.ROUTES,
        *dataset_findings.ROUTES,
    ),
    values=_values,
)
