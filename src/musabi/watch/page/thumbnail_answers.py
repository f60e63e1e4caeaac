"""What a request for a small picture waits for: the disk in a thread, the making in the queue of thumbnails."""

import asyncio
from pathlib import Path

import anyio

from musabi.watch.page import thumbnails


async def thumbnail_of(folder: Path, picture: Path, edge: int = thumbnails.EDGE) -> Path:
    """Return the small picture (`edge` pixels at most) of an image or a video, made where `folder` lacks it.

    Raises:
        RequestError: the picture is gone, or can't be read.
        OSError: the small picture can't be written.
    """
    target, is_there = await anyio.to_thread.run_sync(_look, folder, picture, edge)
    if not is_there:
        await asyncio.wrap_future(thumbnails.begin(picture, target, edge))
    return target


def _look(folder: Path, picture: Path, edge: int) -> tuple[Path, bool]:
    target = thumbnails.kept_file(folder, picture, edge)
    return target, target.is_file()
