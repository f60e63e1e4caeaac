"""What a video is without decoding it: size, frames and rate, remembered between looks."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from musabi.dataset.identity import Memory
from musabi.dataset.opening import open_video_file

TOPIC = "video"
TORN_SHARE, TORN_SECONDS = 0.1, 0.5
"""What a whole file's packets may end before the length that its header names: headers round and guess."""


@dataclass(frozen=True)
class VideoHeader:
    """A video as it is stored: pixels, frames that are there, frames per second (None: not said).

    `rotation` is what the file asks players to turn it by, in degrees; the trainer doesn't.
    """

    width: int
    height: int
    frames: int
    fps: float | None
    rotation: int = 0


def read_video(video: Path, memory: Memory) -> VideoHeader:
    """Return what the video file `video` holds; an unchanged one that `memory` knows is not opened.

    Raises:
        OSError, ValueError: it is not there, is no video, or breaks off.
    """
    return VideoHeader(**json.loads(memory.recall(video, _look, TOPIC)))


def why_no_video(error: Exception) -> str:
    """Say in a few words what is wrong with a video that `read_video` refused."""
    if isinstance(error, IsADirectoryError):
        return "is a folder"
    if isinstance(error, FileNotFoundError):
        return "is not there"
    if isinstance(error, OSError) and error.strerror and not type(error).__module__.startswith("av"):
        return f"can't be read: {error.strerror}"
    if type(error) is ValueError:
        return str(error)
    return "is no video that can be read, or is cut off"


def _look(video: Path) -> str:
    if video.is_dir():
        raise IsADirectoryError(video)
    with open_video_file(video) as container:
        if not container.streams.video:
            raise ValueError("has no video in it")
        stream = container.streams.video[0]
        first = next(container.decode(stream), None)
        if first is None:
            raise ValueError("has no frame that can be decoded")
        rate = stream.average_rate or stream.guessed_rate
        header = VideoHeader(
            first.width,
            first.height,
            _frames(video, stream),
            round(float(rate), 3) if rate else None,
            round(first.rotation) % 360,
        )
    return json.dumps(asdict(header))


def _frames(video: Path, stream: Any) -> int:  # noqa: ANN401 - av.video.stream.VideoStream
    """Return the number of frames that decoding gives: by the index where it is whole, else packet by packet."""
    index = [entry for entry in stream.index_entries if not entry.is_discard]
    if stream.frames and len(index) == stream.frames:
        last = max(entry.pos + entry.size for entry in index)
        if last > video.stat().st_size:
            raise ValueError("is cut off")
        return len(index)
    return _counted(video)


def _counted(video: Path) -> int:
    """Return the number of packets with a picture in them, from the first to the last.

    Raises:
        ValueError: the file breaks off.
    """
    import av

    with open_video_file(video) as container:
        stream, pictures, end = container.streams.video[0], 0, 0.0
        try:
            for packet in container.demux():
                if packet.is_corrupt:
                    raise ValueError("is cut off")
                if packet.size and packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                pictures += bool(packet.stream is stream and packet.size and not packet.is_discard)
        except av.FFmpegError:
            raise ValueError("is cut off") from None
        promised = (container.duration or 0) / av.time_base
        if end - (container.start_time or 0) / av.time_base < promised * (1 - TORN_SHARE) - TORN_SECONDS:
            raise ValueError("is cut off")
        return pictures
