"""Reads when the frames of a video are shown, and writes chosen frames of it as clips (PyAV)."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from musabi.children import Cancelled
from musabi.dataset.opening import open_video_file
from musabi.dataset.video import why_no_video

QUALITY = {"crf": "12", "preset": "veryfast", "bf": "0"}
"""x264's options: no loss that is seen; no frames out of order, whose delay readers take into account or not."""
CODEC = "libx264"
MOST_DENOMINATOR = 1001
"""Frame rates are whole or those of television, such as 24000/1001."""
COLOURS = ("color_range", "colorspace", "color_primaries", "color_trc")
GUESSED_RATE = 25.0


@dataclass(frozen=True)
class Timeline:
    """When each stored frame of a video is shown, in seconds from its first, and how long the whole is."""

    times: tuple[float, ...]
    seconds: float


def timeline(video: Path) -> Timeline:
    """Return when the frames of a video are shown, without decoding them where the file says it.

    Raises:
        ValueError: it is no video that can be read; the text goes on after its name.
    """
    with _opened(video) as container:
        if not container.streams.video:
            raise ValueError("has no video in it")
        stream = container.streams.video[0]
        rate = float(stream.average_rate or stream.guessed_rate or GUESSED_RATE)
        packets = [one for one in container.demux(stream) if one.size and not one.is_discard]
        stamps = [one.pts for one in packets if one.pts is not None]
        unit = float(stream.time_base or 1 / rate)
    if len(stamps) < len(packets) or not stamps:
        stamps, unit = list(range(_decoded(video))), 1 / rate
    times = [stamp * unit for stamp in sorted(stamps)]
    return Timeline(tuple(time - times[0] for time in times), times[-1] - times[0] + 1 / rate)


def _decoded(video: Path) -> int:
    """Return the number of frames that decoding gives: some formats note no times."""
    with _opened(video) as container:
        number = sum(1 for _ in container.decode(container.streams.video[0]))
    if not number:
        raise ValueError("has no frame that can be decoded")
    return number


@contextmanager
def _opened(video: Path) -> Iterator[Any]:
    """Open a video; what goes wrong with it is told in words.

    Raises:
        ValueError: it can't be read.
    """
    import av

    try:
        with open_video_file(video) as container:
            yield container
    except av.FFmpegError as error:
        raise ValueError(why_no_video(error)) from None


def write_clips(
    video: Path, clips: Sequence[tuple[Path, Sequence[int]]], fps: float, cancel: threading.Event
) -> None:
    """Write clips of a video: each a path (.mp4) and the numbers of its frames, ascending, each at least once.

    The video is decoded once, up to the last frame that is needed.

    Raises:
        ValueError: it can't be decoded that far.
        OSError: a clip can't be written.
        Cancelled: `cancel` was set.
    """
    waiting = sorted(clips, key=lambda clip: clip[1][0])
    last = max(frames[-1] for _, frames in clips)
    writing: list[_Writer] = []
    try:
        for number, frame in _numbered(video, last):
            if cancel.is_set():
                raise Cancelled
            while waiting and waiting[0][1][0] == number:
                writing.append(_Writer(*waiting.pop(0), fps))
            shown = _upright(frame) if writing else frame
            for clip in writing:
                clip.take(number, shown)
            writing = [clip for clip in writing if not clip.done]
    finally:
        for clip in writing:
            clip.close()


def _numbered(video: Path, last: int) -> Iterator[tuple[int, Any]]:
    """Yield the frames of a video in the order that they are shown, up to number `last`."""
    with _opened(video) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        number = -1
        for number, frame in enumerate(container.decode(stream)):
            yield number, frame
            if number == last:
                return
    raise ValueError("is cut off")


class _Writer:
    """One clip while it is written."""

    def __init__(self, path: Path, frames: Sequence[int], fps: float) -> None:
        self._path = path
        self._frames = frames
        self._rate = Fraction(fps).limit_denominator(MOST_DENOMINATOR)
        self._container: Any = None
        self._stream: Any = None
        self._written = 0
        self.done = False

    def take(self, number: int, frame: Any) -> None:  # noqa: ANN401 - av.VideoFrame
        """Write the frame as often as the clip has it."""
        import av

        try:
            self._take(number, frame)
        except av.FFmpegError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None

    def _take(self, number: int, frame: Any) -> None:  # noqa: ANN401 - av.VideoFrame
        while not self.done and self._frames[self._written] == number:
            self._write(frame)
            self._written += 1
            if self._written == len(self._frames):
                self._container.mux(self._stream.encode())
                self.close()
                self.done = True

    def _write(self, frame: Any) -> None:  # noqa: ANN401 - av.VideoFrame
        if self._container is None:
            self._open(frame)
        shown = frame.reformat(self._stream.width, self._stream.height, "yuv420p")
        shown.pts, shown.time_base = self._written, 1 / self._rate
        self._container.mux(self._stream.encode(shown))

    def _open(self, frame: Any) -> None:  # noqa: ANN401 - av.VideoFrame
        import av

        self._container = av.open(str(self._path), "w", format="mp4")
        self._stream = self._container.add_stream(CODEC, rate=self._rate, options=QUALITY)
        self._stream.width, self._stream.height, self._stream.pix_fmt = frame.width, frame.height, "yuv420p"
        for name in COLOURS:
            if (value := getattr(frame, name, None)) is not None:
                setattr(self._stream.codec_context, name, value)

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None


def _upright(frame: Any) -> Any:  # noqa: ANN401 - av.VideoFrame
    """Return the frame as players show it, cut to even sizes, which H.264 with 4:2:0 needs."""
    import av
    import numpy as np

    quarter = round(frame.rotation / 90) % 4
    if not quarter and frame.width % 2 == frame.height % 2 == 0:
        return frame
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), quarter)
    height, width = (side // 2 * 2 for side in pixels.shape[:2])
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
