"""Videos become clips of just the length and rate that a model is trained on."""

import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from musabi.children import Cancelled
from musabi.dataset.clip_file import Timeline, timeline
from musabi.dataset.clips import Clips, Mode, cut, plan_clips, starts
from musabi.dataset.identity import Memory
from musabi.dataset.video import VideoHeader, read_video
from musabi.errors import RequestError

MakeVideo = Callable[..., Path]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "clips"


def greys(video: Path) -> list[int]:
    """Return the grey of each frame, which in these videos is the number of the frame."""
    with av.open(str(video)) as container:
        return [round(float(frame.to_ndarray(format="gray").mean())) for frame in container.decode(video=0)]


def evenly(seconds: float, fps: float) -> Timeline:
    return Timeline(tuple(number / fps for number in range(round(seconds * fps))), seconds)


# Which frames


@pytest.mark.parametrize(
    ("mode", "frames", "length", "expected"),
    [
        ("single_beginning", 100, 33, [0]),
        ("single_middle", 100, 33, [33]),
        ("single_middle", 33, 33, [0]),
        ("multiple_overlapping", 33, 33, [0]),
        ("multiple_overlapping", 34, 33, [0, 1]),
        ("multiple_overlapping", 100, 33, [0, 22, 45, 67]),
    ],
)
def test_clips_begin_where_their_mode_says(mode: Mode, frames: int, length: int, expected: list[int]) -> None:
    assert starts(frames, length, mode) == expected


@pytest.mark.parametrize("frames", range(33, 400, 7))
def test_overlapping_clips_cover_all_of_a_video_and_stay_in_it(frames: int) -> None:
    begins = starts(frames, 33, "multiple_overlapping")
    assert begins[0] == 0 and begins[-1] == frames - 33
    assert all(after - before <= 33 for before, after in pairwise(begins))


def test_a_video_gets_the_largest_length_that_fits() -> None:
    rules = Clips("single_beginning", (1, 5, 17, 33), 16)
    lengths = [5, 17, 33]
    for seconds, expected in ((0.25, None), (5 / 16, 5), (2, 17), (33 / 16, 33), (60, 33)):
        plan = plan_clips(evenly(seconds, 30), rules, lengths)
        assert [len(clip) for clip in plan] == ([expected] if expected else [])


def test_frames_are_dropped_or_shown_again_to_come_to_the_rate() -> None:
    rules = Clips("single_beginning", (5,), 16)
    assert plan_clips(evenly(1, 32), rules, [5]) == [[0, 2, 4, 6, 8]]
    assert plan_clips(evenly(1, 8), rules, [5]) == [[0, 0, 1, 1, 2]]
    assert plan_clips(evenly(1, 16), rules, [5]) == [[0, 1, 2, 3, 4]]
    uneven = Timeline((0.0, 0.02, 0.2, 0.21, 0.22), 0.5)  # a phone's, that slows down in the dark
    assert plan_clips(uneven, Clips("single_beginning", (5,), 10), [5]) == [[0, 1, 2, 4, 4]]


# Videos


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "mpeg4"),
        ("a.mkv", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.webm", "libvpx"),
    ],
)
def test_every_container_gives_whole_clips_for_the_trainer(
    name: str, codec: str, videos: Path, target: Path, make_video: MakeVideo
) -> None:
    make_video(videos / name, 60, fps=30, codec=codec)
    said: list[str] = []
    (clip,) = cut(videos, target, Clips("single_beginning", (1, 17, 25), 15), said.append)
    assert clip == target / "a.mp4" and clip.with_suffix(".txt").read_text() == "ohwx a"
    assert read_video(clip, Memory()) == VideoHeader(96, 64, 25, 15.0)
    shown = greys(clip)
    assert len(shown) == 25
    stored = greys(videos / name)[::2]
    assert all(abs(grey - was) <= 1 for grey, was in zip(shown, stored, strict=False)), (shown, stored)
    assert said == ["Cut 1 clips"]


def test_overlapping_clips_have_the_right_frames_and_a_caption_each(
    videos: Path, target: Path, make_video: MakeVideo
) -> None:
    make_video(videos / "v.mp4", 40, fps=16, codec="libx264")
    clips = cut(videos, target, Clips("multiple_overlapping", (17,), 16))
    assert [clip.name for clip in clips] == ["v-01.mp4", "v-02.mp4", "v-03.mp4"]
    for clip, start in zip(clips, (0, 12, 23), strict=True):
        assert clip.with_suffix(".txt").read_text() == "ohwx v"
        assert all(abs(grey - start - number) <= 3 for number, grey in enumerate(greys(clip)))
        assert len(greys(clip)) == 17


def test_names_of_clips_never_clash(videos: Path, target: Path, make_video: MakeVideo) -> None:
    make_video(videos / "v-01.mp4", 17, caption="one")
    make_video(videos / "v.mp4", 30, caption="other")
    clips = cut(videos, target, Clips("multiple_overlapping", (17,), 16))
    assert [clip.name for clip in clips] == ["v-01.mp4", "v-clip-01.mp4", "v-clip-02.mp4"]
    assert [clip.with_suffix(".txt").read_text() for clip in clips] == ["one", "other", "other"]


def test_odd_sizes_are_cut_and_turned_videos_stored_upright(
    videos: Path, target: Path, make_video: MakeVideo
) -> None:
    make_odd(videos / "odd.mkv", (95, 63))
    make_video(videos / "turned.mov", 8, size=(96, 64), rotation=90)
    cut(videos, target, Clips("single_beginning", (5,), 16))
    sizes = {name: read_video(target / f"{name}.mp4", Memory()) for name in ("odd", "turned")}
    assert (sizes["odd"].width, sizes["odd"].height) == (94, 62)
    assert (sizes["turned"].width, sizes["turned"].height, sizes["turned"].rotation) == (64, 96, 0)


def make_odd(path: Path, size: tuple[int, int]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=16)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv444p"
        for _ in range(8):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", size, "red"))))
        container.mux(stream.encode())


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_video_is_turned_as_players_turn_it(rotation: int, videos: Path, target: Path) -> None:
    """The bright half of the stored picture is its left one."""
    stored = np.zeros((64, 96, 3), np.uint8)
    stored[:, :48] = 255
    with av.open(str(videos / "v.mov"), "w") as container:
        stream = container.add_stream("mpeg4", rate=16)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.set_display_rotation(rotation)
        for _ in range(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(stream.encode())
    (clip,) = cut(videos, target, Clips("single_beginning", (5,), 16))
    with av.open(str(videos / "v.mov")) as container:
        said = next(container.decode(video=0)).rotation
    with av.open(str(clip)) as container:
        grey = next(container.decode(video=0)).to_ndarray(format="gray")
    # Counter-clockwise: the left half comes to lie below, right or above.
    lower, right = grey[grey.shape[0] // 2 :].mean() > 127, grey[:, grey.shape[1] // 2 :].mean() > 127
    expected = {90: (True, False), 180: (False, True), 270: (False, False)}[round(said) % 360]
    if round(said) % 180:
        assert (lower, grey.shape) == (expected[0], (96, 64))
    else:
        assert (right, grey.shape) == (expected[1], (64, 96))


def test_sound_is_dropped(videos: Path, target: Path) -> None:
    make_with_sound(videos / "v.mp4")
    (clip,) = cut(videos, target, Clips("single_beginning", (5,), 16))
    with av.open(str(clip)) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def make_with_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("mpeg4", rate=16), container.add_stream("aac", rate=44100)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for _ in range(8):
            container.mux(video.encode(av.VideoFrame.from_image(Image.new("RGB", (96, 64), "red"))))
        container.mux(video.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(sound.encode(frame))
        container.mux(sound.encode())


# What is left out


def test_what_is_too_short_or_broken_is_named_and_left_out(
    videos: Path, target: Path, make_video: MakeVideo
) -> None:
    make_video(videos / "good.mp4", 20)
    make_video(videos / "short.mp4", 10)
    (videos / "none.mp4").write_bytes(b"no video at all")
    whole = make_video(videos / "torn.mp4", 48, codec="libx264")
    whole.write_bytes(whole.read_bytes()[:2500])
    said: list[str] = []
    clips = cut(videos, target, Clips("single_beginning", (17,), 16), said.append)
    assert [clip.name for clip in clips] == ["good.mp4"]
    assert {path.name for path in target.iterdir()} == {"good.mp4", "good.txt"}
    words = "\n".join(said)
    assert "none.mp4 is no video" in words and "torn.mp4" in words
    assert "short.mp4 is 0.6 s long, and the shortest clip of 17 frames takes 1.1 s" in words


def test_a_dataset_that_gives_no_clip_is_refused(videos: Path, target: Path, make_video: MakeVideo) -> None:
    make_video(videos / "short.mp4", 4)
    with pytest.raises(RequestError, match="No images/videos found in directory") as refused:
        cut(videos, target, Clips("single_beginning", (33, 17), 16))
    assert "short.mp4 is 0.2 s long" in str(refused.value)
    with pytest.raises(RequestError, match="names no length above 1"):
        cut(videos, target, Clips("single_beginning", (1,), 16))
    assert not target.exists() and [path.name for path in target.parent.iterdir()] == ["videos"]


def test_cutting_can_be_called_off_and_done_anew(
    videos: Path, target: Path, make_video: MakeVideo, tmp_path: Path
) -> None:
    make_video(videos / "v.mp4", 20)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        cut(videos, target, Clips("single_beginning", (17,), 16), cancel=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]
    for stale in (target, tmp_path / ".clips.part"):  # as a kill leaves them
        stale.mkdir()
        (stale / "stale.mp4").write_bytes(b"x")
    cut(videos, target, Clips("single_beginning", (17,), 16))
    assert sorted(path.name for path in target.iterdir()) == ["v.mp4", "v.txt"]
    assert not (tmp_path / ".clips.part").exists()


def test_a_disk_that_can_not_be_written_is_no_fault_of_a_video(
    videos: Path, target: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(videos / "v.mp4", 20)
    real = av.open

    def full(file: str, mode: str = "r", **more: Any) -> Any:
        return real("/dev/full" if mode == "w" else file, mode, **more)

    monkeypatch.setattr(av, "open", full)
    with pytest.raises(OSError, match="No space left"):
        cut(videos, target, Clips("single_beginning", (17,), 16))
    assert not target.exists()


def test_a_format_without_times_is_counted(videos: Path, make_video: MakeVideo) -> None:
    line = timeline(make_video(videos / "v.avi", 24, fps=24))
    assert len(line.times) == 24 and abs(line.seconds - 1) < 0.01
