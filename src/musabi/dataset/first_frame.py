"""The first frame of a video as a picture."""

from pathlib import Path

from musabi.dataset.opening import open_video_file
from musabi.errors import RequestError
from musabi.whole import replacing


def write_first_frame(video: Path, target: Path) -> None:
    """Write the first frame of a video as a PNG.

    Raises:
        RequestError: the video can't be read.
        OSError: the picture can't be written.
    """
    import av

    try:
        with open_video_file(video) as opened:
            frame = next(opened.decode(video=0))
    except (av.FFmpegError, StopIteration, IndexError):
        raise RequestError(
            f"{video.name} can't be read as a video. Make it again, then send it again."
        ) from None
    with replacing(target) as part:
        frame.to_image().save(part, "PNG")
