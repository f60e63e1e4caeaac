"""What is read of a video without decoding it is what decoding gives."""

from collections.abc import Callable
from pathlib import Path

import av
import pytest
from PIL import Image

from musabi.dataset import identity, video
from musabi.dataset.identity import Memory
from musabi.dataset.video import read_video, why_no_video

MakeVideo = Callable[..., Path]


def decoded(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def refusal(path: Path) -> str:
    with pytest.raises((OSError, ValueError)) as caught:
        read_video(path, Memory())
    return why_no_video(caught.value)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "mpeg4"),
        ("a.mp4", "libx264"),
        ("a.mov", "libx264"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx"),
        ("a.avi", "mpeg4"),
        ("a.flv", "flv"),
        ("a.wmv", "wmv2"),
        ("a.m4v", "mpeg4"),
        ("a.mpg", "mpeg1video"),
        ("a.MPEG", "mpeg2video"),
    ],
)
def test_size_frames_and_rate_are_those_that_decoding_gives(
    tmp_path: Path, make_video: MakeVideo, name: str, codec: str
) -> None:
    path = make_video(tmp_path / name, 31, (96, 64), 24, codec)
    header = read_video(path, Memory())
    assert (header.width, header.height, header.frames, header.fps) == (96, 64, decoded(path), 24.0)
    assert header.frames == 31


def test_a_cut_of_a_longer_video_counts_the_frames_that_players_show(
    tmp_path: Path, make_video: MakeVideo
) -> None:
    """Such a file keeps the frames before the cut, with a mark that they are not to be shown."""
    whole = make_video(tmp_path / "whole.mp4", 48, codec="libx264")
    part = tmp_path / "part.mp4"
    with av.open(str(whole)) as source, av.open(str(part), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None and packet.pts is not None:
                shift = round(1 / stream.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                target.mux(packet)
    assert 0 < read_video(part, Memory()).frames == decoded(part) < 48


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {}),
        ("a.mp4", "libx264", {"movflags": "faststart"}),
        ("a.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("a.mkv", "libx264", {}),
        ("a.webm", "libvpx", {}),
        ("a.avi", "mpeg4", {}),
    ],
)
def test_a_video_that_breaks_off_is_named(
    tmp_path: Path, make_video: MakeVideo, name: str, codec: str, options: dict[str, str]
) -> None:
    path = make_video(tmp_path / name, 60, codec=codec, options=options)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "cut off" in refusal(path)


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert refusal(tmp_path / "text.mp4") == "is no video that can be read, or is cut off"
    assert refusal(tmp_path / "empty.mp4") == "is no video that can be read, or is cut off"
    assert refusal(tmp_path / "gone.mp4") == "is not there"
    assert refusal(tmp_path) == "is a folder"


def test_a_file_with_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert refusal(path) == "has no video in it"


def test_a_turn_that_players_make_is_seen(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "phone.mp4", 4, rotation=90)
    header = read_video(path, Memory())
    assert (header.width, header.height, header.rotation) == (96, 64, 90)


def test_a_video_that_is_known_is_not_opened_again(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "SETTLED_NS", -10_000_000_000)
    path, kept = make_video(tmp_path / "a.mp4", 9), tmp_path / "memory.json"
    memory = Memory(kept)
    first = read_video(path, memory)
    memory.recall(path, identity.content_hash)
    memory.keep()

    def never(_: Path) -> str:
        raise AssertionError("opened again")

    monkeypatch.setattr(video, "_look", never)
    memory = Memory(kept)
    assert read_video(path, memory) == first
    assert memory.recall(path, never) == identity.content_hash(path)
    path.write_bytes(b"another")
    with pytest.raises(AssertionError):
        read_video(path, Memory(kept))


def test_a_picture_named_like_a_video_is_a_video_of_one_frame(tmp_path: Path) -> None:
    """As the trainer reads it."""
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    path = (tmp_path / "a.png").rename(tmp_path / "a.mp4")
    assert read_video(path, Memory()).frames == decoded(path) == 1
