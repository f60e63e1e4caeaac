"""A video as Gemini takes it: in one of its formats, no larger than it allows, looked at often enough."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import av
from av.error import FFmpegError

from musabi.captioning.gemini_errors import ClipFailedError
from musabi.dataset.opening import open_video_file
from musabi.hub.listing import gigabytes

MOST_BYTES = 2_000_000_000
"""Gemini's limit for one file (its page on the Files API)."""
SENT_AS: Mapping[str, str] = {".mp4": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm"}
"""What is sent as it is. Matroska is not among Gemini's formats; that and the rest become MP4 first."""
CARRIED = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4"})
"""What an MP4 file holds without being encoded again."""
FRAMES, MOST_FRAMES, MOST_FPS = 16, 600, 24.0
"""Frames that a short clip is looked at with, the most of a long one, and Gemini's highest rate."""


@dataclass(frozen=True)
class Clip:
    """A video ready to be sent. `video` is the file it was made from, `fps` how often it is looked at."""

    video: Path
    file: Path
    mime: str
    fps: float | None

    @property
    def size(self) -> int:
        return self.file.stat().st_size


def make_ready(video: Path, scratch: Path) -> Clip:
    """Return the whole video in a format that Gemini takes; one that is made anew lies in `scratch`.

    Raises:
        ClipFailedError: it can't be read, or is too large.
        OSError: there is no room for a new one.
    """
    require_size(video, video)
    mime = SENT_AS.get(video.suffix.lower())
    try:
        fps = frames_per_second(duration_of(video))
        file = video if mime else as_mp4(video, scratch / f"{video.name}.mp4")
    except (FFmpegError, IndexError) as problem:
        why = problem.strerror if isinstance(problem, FFmpegError) else "it holds no pictures"
        raise ClipFailedError(video, f"can't be read as a video ({why})") from None
    require_size(file, video)
    return Clip(video, file, mime or "video/mp4", fps)


def require_size(file: Path, video: Path) -> None:
    """Refuse a file that Gemini would not take.

    Raises:
        ClipFailedError: it is larger than 2 GB.
    """
    size = file.stat().st_size
    if size > MOST_BYTES:
        raise ClipFailedError(
            video, f"is {gigabytes(size)}, and Gemini takes 2 GB at most. Cut it into parts"
        )


def duration_of(video: Path) -> float | None:
    """Return how many seconds a video lasts, or None where it does not say.

    Raises:
        FFmpegError: it can't be read.
        IndexError: it holds no pictures.
    """
    with open_video_file(video) as opened:
        stream = opened.streams.video[0]
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return opened.duration / av.time_base if opened.duration else None


def frames_per_second(duration_s: float | None) -> float | None:
    """Return how often a video is looked at: Gemini's one frame a second would see little of a short clip."""
    if not duration_s or duration_s <= 0:
        return None
    wanted = max(FRAMES / duration_s, 1.0)
    return round(min(wanted, MOST_FRAMES / duration_s, MOST_FPS), 3)


def as_mp4(video: Path, target: Path) -> Path:
    """Write the pictures of a video to an MP4 file: as they are where it can hold them, else encoded again.

    Raises:
        FFmpegError: it can't be read.
        IndexError: it holds no pictures.
    """
    with open_video_file(video) as opened:
        carried = opened.streams.video[0].codec_context.name in CARRIED
    if carried:
        try:
            return _copy(video, target)
        except (FFmpegError, ValueError):
            pass  # an AVI file may lack the times that MP4 wants
    return _encode(video, target)


def _copy(video: Path, target: Path) -> Path:
    with open_video_file(video) as opened, av.open(str(target), "w", format="mp4") as out:
        stream = opened.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for packet in opened.demux(stream):
            if packet.size:  # the last one is empty and only says that it was the last
                packet.stream = copy
                out.mux(packet)
    return target


def _encode(video: Path, target: Path) -> Path:
    with open_video_file(video) as opened, av.open(str(target), "w", format="mp4") as out:
        stream = opened.streams.video[0]
        made = out.add_stream("libx264", rate=stream.average_rate or 24, options={"crf": "18"})
        # H.264 with the usual colours has even sides.
        made.width, made.height = max(2, stream.width // 2 * 2), max(2, stream.height // 2 * 2)
        made.pix_fmt = "yuv420p"
        if stream.time_base is not None:
            made.codec_context.time_base = stream.time_base
        for frame in opened.decode(stream):
            out.mux(made.encode(frame.reformat(made.width, made.height, "yuv420p")))
        out.mux(made.encode())
    return target
