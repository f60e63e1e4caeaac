"""Which frames of a video are trained on, exactly as musubi-tuner v0.3.4 cuts it (image_video_dataset.py)."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Mode = Literal["head", "chunk", "slide", "uniform", "full"]
MODES: tuple[Mode, ...] = get_args(Mode)
LATENT_FRAMES = 4
"""Frames that the trainer's video VAEs make one of, after the first."""
DEFAULT_MOST = 129
"""`max_frames` where a dataset names none (musubi-tuner v0.3.4, config_utils.py)."""


@dataclass(frozen=True)
class Clip:
    """A piece of a video: its first frame, counted from 0 at the rate it is trained at, and its frames."""

    start: int
    frames: int


@dataclass(frozen=True)
class Extraction:
    """What a dataset's TOML says about frames.

    `asked` are the target_frames as written, `stride` and `sample` belong to the modes slide and uniform,
    `most` to full. `source_fps` is given where frames are dropped to come to the model's rate.
    """

    mode: Mode = "head"
    asked: tuple[int, ...] = (1,)
    stride: int = 1
    sample: int = 1
    most: int = DEFAULT_MOST
    source_fps: float | None = None
    target_fps: float | None = None
    latent_frames: int = LATENT_FRAMES

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of clips in frames: as asked, rounded down to latent frames x N + 1, shortest first."""
        return tuple(sorted({rounded(length, self.latent_frames) for length in self.asked}))

    @property
    def cut(self) -> Mode:
        """The mode that is in force: one sample of uniform is taken as head."""
        return "head" if self.mode == "uniform" and self.sample == 1 else self.mode


def rounded(frames: int, latent_frames: int = LATENT_FRAMES) -> int:
    """Return the largest latent_frames x N + 1 that is not above `frames`."""
    return (frames - 1) // latent_frames * latent_frames + 1


def clips(frames: int, extraction: Extraction) -> tuple[Clip, ...]:
    """Return the clips that a video of `frames` stored frames gives, in the order they are cut.

    Clips that come out twice are given once: they share a cache file. A video that is too short for every
    length gives none.
    """
    end = max(extraction.lengths) if extraction.cut == "head" else None
    there = frames_left(frames, extraction.source_fps, extraction.target_fps, end)
    return tuple(dict.fromkeys(_CUTS[extraction.cut](there, extraction))) if there else ()


def frames_left(frames: int, source_fps: float | None, target_fps: float | None, end: int | None) -> int:
    """Return how many frames are read of a video of `frames` frames, up to number `end` at the model's rate.

    Frames are only ever dropped: a video that is slower than the model keeps all of its frames. The sum runs
    in floating point as the trainer's does, which shows where it comes out just below a whole number.
    """
    if source_fps is None or target_fps is None:
        return frames if end is None else min(frames, end)
    step, position, last, kept = target_fps / source_fps, 0.0, -1, 0
    for _ in range(frames):
        index = int(position)
        position += step
        if index == last:
            continue
        last = index
        if end is not None and index >= end:
            break
        kept += 1
    return kept


def sections(frames: int, window: int, latent_frames: int = LATENT_FRAMES) -> int:
    """Return how many pieces of `window` latent frames a FramePack clip is cached in; 0: it is too short."""
    return ((frames - 1) // latent_frames) // window


def _head(there: int, extraction: Extraction) -> Iterable[Clip]:
    return (Clip(0, length) for length in extraction.lengths if length <= there)


def _chunk(there: int, extraction: Extraction) -> Iterable[Clip]:
    for length in extraction.lengths:
        for start in range(0, there - length + 1, length):
            yield Clip(start, length)


def _slide(there: int, extraction: Extraction) -> Iterable[Clip]:
    for length in extraction.lengths:
        for start in range(0, there - length + 1, extraction.stride):
            yield Clip(start, length)


def _uniform(there: int, extraction: Extraction) -> Iterable[Clip]:
    for length in extraction.lengths:
        if length <= there:
            for start in _spread(there - length, extraction.sample):
                yield Clip(start, length)


def _spread(last: int, number: int) -> Iterable[int]:
    """Return `number` (2 or more) whole numbers from 0 to `last`, as numpy.linspace spaces and cuts them."""
    step = last / (number - 1)
    return (*(math.floor(place * step) for place in range(number - 1)), last)


def _full(there: int, extraction: Extraction) -> Iterable[Clip]:
    return (Clip(0, rounded(min(there, extraction.most), extraction.latent_frames)),)


_CUTS: Mapping[Mode, Callable[[int, Extraction], Iterable[Clip]]] = {
    "head": _head,
    "chunk": _chunk,
    "slide": _slide,
    "uniform": _uniform,
    "full": _full,
}
