"""Cuts videos into the clips that a model is trained on: its frame rate, one length, whole from first to last frame.

Trainers cut by rules of their own, and pass over videos that are too short without a word. A clip made here is
exactly as long as a length that was asked for, at the model's rate, so that every trainer takes all of it.
"""

import shutil
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from musabi.dataset.candidates import files_in
from musabi.dataset.extensions import VIDEO_EXTENSIONS
from musabi.errors import RequestError

if TYPE_CHECKING:
    from musabi.dataset.clip_file import Timeline

Mode = Literal["single_beginning", "single_middle", "multiple_overlapping"]
ROUNDING = 0.001
"""Seconds by which a stored time may be off: Matroska counts milliseconds."""
MOST_NAMED = 5


@dataclass(frozen=True)
class Clips:
    """How videos become clips. `frames` are the lengths that a clip may have; `fps` is the model's own.

    A video gets the largest length above 1 that fits into it. single_beginning and single_middle take one clip;
    multiple_overlapping as many as cover the video, evenly spread (diffusion-pipe's modes, of which the last
    is gone there since 2025-10).
    """

    mode: Mode
    frames: tuple[int, ...]
    fps: float


def cut(
    source: Path,
    target: Path,
    rules: Clips,
    say: Callable[[str], None] = lambda _text: None,
    cancel: threading.Event | None = None,
) -> list[Path]:
    """Make the folder `target` of the clips of the videos in `source`, each with its video's caption (.txt).

    Clips are H.264 in MP4, upright, without sound, of even size. Videos that are too short or can't be read are
    named in `say` and left out. The folder appears when it is whole, in place of one that was there.

    Raises:
        RequestError: no clip can be made of any of them.
        Cancelled: `cancel` was set.
        OSError: the folder can't be written.
    """
    lengths = sorted(length for length in rules.frames if length > 1)
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        made, left_out = _cut_all(source, part, rules, lengths, cancel or threading.Event())
        for line in left_out:
            say(f"Left out: {line}")
        if not made:
            raise RequestError(_nothing(source, left_out))
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    say(f"Cut {len(made)} clips")
    return [target / name for name in made]


def _cut_all(
    source: Path, part: Path, rules: Clips, lengths: list[int], cancel: threading.Event
) -> tuple[list[str], list[str]]:
    from musabi.dataset.clip_file import timeline, write_clips

    made: list[str] = []
    left_out: list[str] = []
    for video in files_in(source, VIDEO_EXTENSIONS):
        names: list[str] = []
        try:
            line = timeline(video)
            plan = plan_clips(line, rules, lengths)
            if not plan:
                left_out.append(_too_short(video, line, rules, lengths))
                continue
            names = _names(video.stem, len(plan), made)
            places = [part / name for name in names]
            write_clips(video, list(zip(places, plan, strict=True)), rules.fps, cancel)
        except ValueError as error:
            left_out.append(f"{video.name} {error}")
            for name in names:
                (part / name).unlink(missing_ok=True)
        else:
            _copy_captions(video, places)
            made += names
    return made, left_out


def plan_clips(line: "Timeline", rules: Clips, lengths: Sequence[int]) -> list[list[int]]:
    """Return for each clip the numbers of the stored frames that it is made of; none where it is too short."""
    shown = [
        bisect_right(line.times, number / rules.fps + ROUNDING) - 1
        for number in range(int((line.seconds + ROUNDING) * rules.fps))
    ]
    length = max((one for one in lengths if one <= len(shown)), default=0)
    return (
        [shown[start : start + length] for start in starts(len(shown), length, rules.mode)] if length else []
    )


def starts(frames: int, length: int, mode: Mode) -> list[int]:
    """Return where clips of `length` frames begin in a video of `frames` frames, which is at least as long."""
    last = frames - length
    if mode == "single_beginning":
        return [0]
    if mode == "single_middle":
        return [last // 2]
    number = -(-frames // length)
    return [round(last * place / (number - 1)) for place in range(number)] if number > 1 else [0]


def _names(stem: str, number: int, taken: Sequence[str]) -> list[str]:
    """Return names for the clips of a video, none of which another's clip has."""
    wanted = [f"{stem}.mp4"] if number == 1 else [f"{stem}-{clip:02d}.mp4" for clip in range(1, number + 1)]
    return wanted if not {*wanted} & {*taken} else _names(f"{stem}-clip", number, taken)


def _copy_captions(video: Path, clips: Sequence[Path]) -> None:
    caption = video.with_suffix(".txt")
    if caption.is_file():
        for clip in clips:
            shutil.copyfile(caption, clip.with_suffix(".txt"))


def _too_short(video: Path, line: "Timeline", rules: Clips, lengths: Sequence[int]) -> str:
    if not lengths:
        return f"{video.name} makes no clip, as frame_buckets names no length above 1"
    return (
        f"{video.name} is {line.seconds:.1f} s long, and the shortest clip of {lengths[0]} frames takes "
        f"{lengths[0] / rules.fps:.1f} s"
    )


def _nothing(source: Path, left_out: Sequence[str]) -> str:
    more = f"; and {len(left_out) - MOST_NAMED:,} more" if len(left_out) > MOST_NAMED else ""
    said = "; ".join(left_out[:MOST_NAMED])
    return (
        f"No images/videos found in directory {source.name} that a clip can be made of"
        f"{f' ({said}{more})' if said else ''}. Use longer videos, or shorter lengths in training.frame_buckets."
    )
