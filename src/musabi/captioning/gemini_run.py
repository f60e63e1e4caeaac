"""Many videos described by Gemini, a few at a time; each caption is there as soon as it is made."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from musabi.captioning.gemini import Conversation, Gemini, Say
from musabi.captioning.gemini_clip import make_ready
from musabi.captioning.gemini_errors import ClipFailedError
from musabi.captioning.plan import Uncaptioned
from musabi.captioning.run import Heed, pay_no_heed
from musabi.captioning.text import Wording, caption_text
from musabi.captioning.writing import Writer

HEED_SECONDS = 0.2


def caption_videos(
    gemini: Gemini, items: Sequence[Uncaptioned], say: Say, heed: Heed = pay_no_heed
) -> list[ClipFailedError]:
    """Caption the videos and return those that could not be, each with its reason; the others are written.

    What `heed` raises ends the work, and so does the first error that is not of one video alone; the copies at
    Gemini are deleted then, too.

    Raises:
        RequestError: the key is not accepted.
        MachineError: Gemini can't be reached, or no model answers.
        OSError: a caption can't be written.
    """
    with tempfile.TemporaryDirectory(prefix="musabi-gemini-") as scratch:
        return asyncio.run(_all(gemini, items, say, heed, Path(scratch)))


async def _all(
    gemini: Gemini, items: Sequence[Uncaptioned], say: Say, heed: Heed, scratch: Path
) -> list[ClipFailedError]:
    room = asyncio.Semaphore(gemini.side_by_side)
    failed: list[ClipFailedError] = []
    written: list[Uncaptioned] = []

    async def one(talk: Conversation, item: Uncaptioned) -> None:
        async with room:
            try:
                text = await _text_of(talk, item, scratch)
            except ClipFailedError as problem:
                failed.append(problem)
                say(f"Passed over: {problem}")
            else:
                Writer().write(item, text)
                written.append(item)

    async with gemini.client() as client:
        talk = Conversation(gemini, client, say)
        tasks = [asyncio.create_task(one(talk, item)) for item in items]
        pending = set(tasks)
        try:
            while pending:
                heed(len(written))
                done, pending = await asyncio.wait(
                    pending, timeout=HEED_SECONDS, return_when=asyncio.FIRST_EXCEPTION
                )
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return failed


async def _text_of(talk: Conversation, item: Uncaptioned, scratch: Path) -> str:
    clip = await asyncio.to_thread(make_ready, item.file, scratch)
    try:
        said = await talk.describe(clip)
    finally:
        if clip.file != item.file:
            clip.file.unlink(missing_ok=True)
    return caption_text(said.text, Wording(), cut=said.cut)
