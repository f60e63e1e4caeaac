"""Videos described by Gemini: what is sent, what is made of the answers, and what is left behind."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from musabi.captioning.gemini import Gemini
from musabi.captioning.gemini_clip import MOST_BYTES, as_mp4, frames_per_second
from musabi.captioning.gemini_errors import ClipFailedError
from musabi.captioning.gemini_run import caption_videos
from musabi.captioning.models import VIDEO
from musabi.captioning.plan import Uncaptioned
from musabi.errors import MachineError, RequestError
from peers.standin_gemini import KEY, PIECE, StandinGemini, blocked, running_gemini, said

LEVELS = [0, 40, 80, 120, 160, 200]


@pytest.fixture
def gemini() -> Iterator[StandinGemini]:
    with running_gemini() as running:
        yield running


def way(gemini: StandinGemini, *models: str, **more: float) -> Gemini:
    """Return the way to the stand-in, without the real one's waits."""
    names = models or ("gemini-3.8-flash",)
    return replace(Gemini(KEY, names, gemini.url, backoff_s=0.01, poll_s=0.01), **more)


def shot(file: Path, levels: list[int] | None = None, codec: str = "libx264", rate: int = 8) -> Uncaptioned:
    """Write a video of plain greys and return it as one that wants a caption."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for level in levels or LEVELS:
            grey = np.full((64, 96, 3), level, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        out.mux(stream.encode())
    return Uncaptioned(file, "video", file.with_suffix(".txt"))


def greys(content: Path) -> list[int]:
    """Return the level of each frame of a video."""
    with av.open(str(content)) as video:
        return [round(float(frame.to_ndarray(format="gray").mean())) for frame in video.decode(video=0)]


def run(way_: Gemini, *items: Uncaptioned, lines: list[str] | None = None) -> list[ClipFailedError]:
    return caption_videos(way_, items, (lines if lines is not None else []).append)


def test_the_whole_clip_is_sent_asked_about_and_deleted(gemini: StandinGemini, tmp_path: Path) -> None:
    item = shot(tmp_path / "a.mp4")
    gemini.processing = 3
    gemini.answer = lambda _content: said("A grey square.\nIt grows brighter.", thought="Hm, grey.")
    assert run(way(gemini), item) == []
    assert item.caption_file.read_text() == "A grey square. It grows brighter.\n"
    (stored,) = gemini.files.values()
    assert stored.content == item.file.read_bytes() and stored.mime == "video/mp4"
    ((model, asked),) = gemini.asked
    assert model == "gemini-3.8-flash"
    assert asked["contents"][0]["parts"][0]["videoMetadata"]["fps"] > 10  # not one frame of a short clip
    assert asked["contents"][0]["parts"][1] == {"text": VIDEO}
    assert gemini.calls["look"] == 3 and gemini.kept == []


def test_a_large_clip_goes_in_pieces_of_8_mib(gemini: StandinGemini, tmp_path: Path) -> None:
    item = shot(tmp_path / "a.mp4")
    whole = item.file.read_bytes() + bytes(2 * PIECE)  # what stands behind the last box is no matter
    item.file.write_bytes(whole)
    assert run(way(gemini), item) == []
    assert gemini.calls["send"] == 3 and next(iter(gemini.files.values())).content == whole


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "libx264"), ("a.mkv", "ffv1"), ("a.avi", "mpeg4"), ("A.MKV", "libvpx")]
)
def test_what_gemini_does_not_take_becomes_mp4_with_every_frame(
    gemini: StandinGemini, tmp_path: Path, name: str, codec: str
) -> None:
    item = shot(tmp_path / name, codec=codec)
    assert run(way(gemini), item) == []
    (stored,) = gemini.files.values()
    sent = tmp_path / "sent.mp4"
    sent.write_bytes(stored.content)
    assert stored.mime == "video/mp4"
    assert greys(sent) == pytest.approx(LEVELS, abs=12) and len(greys(sent)) == len(LEVELS)
    assert item.caption_file.is_file() and sorted(tmp_path.glob("*.mp4")) == [sent]


def test_h264_in_matroska_is_not_encoded_again(tmp_path: Path) -> None:
    item = shot(tmp_path / "a.mkv")
    as_mp4(item.file, tmp_path / "a.mp4")
    with av.open(str(item.file)) as before, av.open(str(tmp_path / "a.mp4")) as after:
        sizes = [[p.size for p in one.demux(video=0) if p.size] for one in (before, after)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("seconds", "fps"),
    [(0.5, 24.0), (2.0, 8.0), (16.0, 1.0), (600.0, 1.0), (6000.0, 0.1), (None, None), (0, None)],
)
def test_short_clips_are_looked_at_more_often(seconds: float | None, fps: float | None) -> None:
    assert frames_per_second(seconds) == fps


def test_a_model_that_is_gone_gives_way_to_the_next_for_good(gemini: StandinGemini, tmp_path: Path) -> None:
    gemini.models = {"gemini-3.6-flash"}
    items = [shot(tmp_path / f"{number}.mp4") for number in range(3)]
    lines: list[str] = []
    used = way(gemini, "gemini-2.0-flash", "models/gemini-3.6-flash", side_by_side=1)
    assert run(used, *items, lines=lines) == []
    assert lines == ["Gemini has no model gemini-2.0-flash"]
    assert gemini.calls["generate"] == 4  # the one that is gone was asked for once
    assert {model for model, _asked in gemini.asked} == {"gemini-3.6-flash"}


def test_no_model_at_all_is_said_with_the_clip(gemini: StandinGemini, tmp_path: Path) -> None:
    with pytest.raises(
        MachineError, match=r"described a\.mp4 \(x: there is no such model; y: .*GEMINI_MODELS"
    ):
        run(way(gemini, "x", "y"), shot(tmp_path / "a.mp4"))
    assert gemini.kept == [] and list(tmp_path.glob("*.txt")) == []


@pytest.mark.parametrize(
    ("call", "status"), [("start", 429), ("send", 503), ("look", 500), ("generate", 429), ("generate", 503)]
)
def test_a_busy_gemini_is_asked_again(gemini: StandinGemini, tmp_path: Path, call: str, status: int) -> None:
    gemini.fail(call, status, times=2)
    item = shot(tmp_path / "a.mp4")
    assert run(way(gemini), item) == []
    assert item.caption_file.is_file() and gemini.calls[call] >= 3
    assert [name for name in gemini.kept if gemini.files[name].whole] == []


def test_a_model_that_stays_busy_gives_way_to_the_next(gemini: StandinGemini, tmp_path: Path) -> None:
    gemini.models |= {"gemini-3.7-flash"}
    gemini.fail("generate", 429, "Quota exceeded", times=4)
    item = shot(tmp_path / "a.mp4")
    assert run(way(gemini, "gemini-3.8-flash", "gemini-3.7-flash"), item) == []
    assert [model for model, _asked in gemini.asked] == ["gemini-3.7-flash"]


@pytest.mark.parametrize("asked", [{"after": "1"}, {"retryDelay": "1s"}])
def test_a_wait_that_gemini_asks_for_is_kept(
    gemini: StandinGemini, tmp_path: Path, asked: dict[str, str]
) -> None:
    import time

    gemini.fail("generate", 429, **asked)  # type: ignore[arg-type]
    began = time.monotonic()
    assert run(way(gemini), shot(tmp_path / "a.mp4")) == []
    assert time.monotonic() - began > 1


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (blocked("PROHIBITED_CONTENT"), "PROHIBITED_CONTENT"),
        (said("A pers", finish="SAFETY"), "SAFETY"),
    ],
)
def test_a_clip_that_gemini_refuses_is_named_and_the_others_are_captioned(
    gemini: StandinGemini, tmp_path: Path, answer: dict[str, object], why: str
) -> None:
    good, bad = shot(tmp_path / "good.mp4"), shot(tmp_path / "bad.mp4", [255])
    content = bad.file.read_bytes()
    gemini.answer = lambda sent: answer if sent == content else said("A grey square.")
    (problem,) = run(way(gemini), bad, good)
    assert f"bad.mp4 is not described by Gemini ({why})" in str(problem)
    assert "bad.txt" in str(problem)
    assert good.caption_file.is_file() and not bad.caption_file.exists() and gemini.kept == []


def test_an_empty_answer_makes_no_empty_caption(gemini: StandinGemini, tmp_path: Path) -> None:
    gemini.answer = lambda _content: said("  \n")
    with pytest.raises(MachineError, match=r"a\.mp4 .*answered without a word"):
        run(way(gemini, attempts=2), shot(tmp_path / "a.mp4"))
    assert list(tmp_path.glob("*.txt")) == [] and gemini.kept == []


def test_a_text_that_was_cut_off_ends_with_its_last_whole_sentence(
    gemini: StandinGemini, tmp_path: Path
) -> None:
    gemini.answer = lambda _content: said("A grey square. It grows br", finish="MAX_TOKENS")
    item = shot(tmp_path / "a.mp4")
    run(way(gemini), item)
    assert item.caption_file.read_text() == "A grey square.\n"


def test_a_file_that_gemini_can_t_read_is_named_and_deleted(gemini: StandinGemini, tmp_path: Path) -> None:
    gemini.broken = True
    (problem,) = run(way(gemini), shot(tmp_path / "a.mp4"))
    assert "a.mp4 can't be read by Gemini" in str(problem)
    assert gemini.kept == []


def test_a_file_that_is_never_ready_ends_with_its_name(gemini: StandinGemini, tmp_path: Path) -> None:
    gemini.processing = 10**6
    with pytest.raises(MachineError, match=r"not ready with a\.mp4"):
        run(way(gemini, active_s=0.1), shot(tmp_path / "a.mp4"))
    assert gemini.kept == []


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda file: file.write_bytes(b"no video at all"), "can't be read as a video"),
        (lambda file: file.write_bytes(b""), "can't be read as a video"),
        (lambda file: _silence(file), "holds no pictures"),
        (lambda file: _huge(file), "Gemini takes 2 GB at most"),
    ],
)
def test_what_is_no_video_or_too_large_is_refused_unsent(
    gemini: StandinGemini, tmp_path: Path, make: object, why: str
) -> None:
    file = tmp_path / "a.mp4"
    make(file)  # type: ignore[operator]
    (problem,) = run(way(gemini), Uncaptioned(file, "video", tmp_path / "a.txt"))
    assert str(problem).startswith("a.mp4 ") and why in str(problem)
    assert not gemini.calls


def _silence(file: Path) -> None:
    with av.open(str(file), "w") as out:
        stream = out.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = 44100, 0, Fraction(1, 44100)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def _huge(file: Path) -> None:
    with file.open("wb") as sparse:
        sparse.truncate(MOST_BYTES + 1)


def test_a_key_that_is_not_accepted_ends_the_work_at_once(gemini: StandinGemini, tmp_path: Path) -> None:
    items = [shot(tmp_path / f"{number}.mp4") for number in range(3)]
    with pytest.raises(RequestError, match=r"does not accept the key\. Check api_keys\.gemini_api_key"):
        run(replace(way(gemini), key="AIza-another"), *items)
    assert gemini.calls["start"] <= 3 and gemini.calls["send"] == 0


@pytest.mark.parametrize("key", ["AIza\r\nX-Evil: 1", "AIzaé", "AI za", ""])
def test_a_key_that_can_t_be_one_is_refused_without_being_shown(
    gemini: StandinGemini, tmp_path: Path, key: str
) -> None:
    with pytest.raises(RequestError, match="holds a character") as problem:
        run(replace(way(gemini), key=key), shot(tmp_path / "a.mp4"))
    assert (
        not key or key not in f"{problem.value!r} {problem.value.__cause__!r} {problem.value.__context__!r}"
    )


def test_the_key_is_in_a_header_only(
    gemini: StandinGemini, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lines: list[str] = []
    gemini.fail("look", 500, f"Consumer 'api_key:{KEY}' is slow")
    gemini.fail("generate", 403, f"Permission denied: Consumer 'api_key:{KEY}' has been suspended.")
    used = way(gemini)
    with pytest.raises(RequestError, match="does not let this key in: Permission denied") as problem:
        run(used, shot(tmp_path / "a.mp4"), lines=lines)
    assert gemini.keys == {"start": {KEY}, "send": {None}, "look": {KEY}, "generate": {KEY}, "delete": {KEY}}
    shown = [*gemini.paths, *lines, str(problem.value), repr(used), caplog.text]
    assert lines and all(KEY not in text for text in shown)


def test_no_more_than_three_go_side_by_side(gemini: StandinGemini, tmp_path: Path) -> None:
    gemini.slow_s = 0.05
    items = [shot(tmp_path / f"{number}.mp4") for number in range(7)]
    assert run(way(gemini), *items) == []
    assert gemini.most_at_once == 3


class EndedError(Exception):
    """The job was asked to end."""


def test_when_it_is_ended_the_copies_are_deleted_and_the_captions_kept(
    gemini: StandinGemini, tmp_path: Path
) -> None:
    gemini.quick, gemini.slow_s = 1, 60  # the second and the third are not answered

    def heed(made: int) -> None:
        if made and gemini.open == 2:
            raise EndedError

    items = [shot(tmp_path / f"{number}.mp4") for number in range(4)]
    with pytest.raises(EndedError):
        caption_videos(way(gemini, side_by_side=2), items, lambda _line: None, heed)
    written = sorted(tmp_path.glob("*.txt"))
    assert 1 <= len(written) < 4 and all(file.read_text().strip() for file in written)
    assert [name for name in gemini.kept if gemini.files[name].whole] == []


def test_a_copy_that_was_whole_when_the_job_was_ended_is_deleted(
    gemini: StandinGemini, tmp_path: Path
) -> None:
    gemini.slow_to_confirm_s = 0.6

    def heed(_made: int) -> None:
        if any(file.whole for file in gemini.files.values()):
            raise EndedError

    with pytest.raises(EndedError):
        caption_videos(way(gemini), [shot(tmp_path / "a.mp4")], lambda _line: None, heed)
    assert gemini.deleted == ["f0"] and gemini.calls["look"] == 0


def test_a_copy_that_can_t_be_deleted_is_said(gemini: StandinGemini, tmp_path: Path) -> None:
    gemini.fail("delete", 500)
    lines: list[str] = []
    item = shot(tmp_path / "a.mp4")
    assert run(way(gemini), item, lines=lines) == []
    assert item.caption_file.is_file() and lines == [
        "The copy of a.mp4 at Gemini could not be deleted; it goes after 48 hours."
    ]


def test_a_gemini_that_can_t_be_reached_is_said_with_the_clip(tmp_path: Path) -> None:
    nobody = Gemini(KEY, ("m",), "http://127.0.0.1:9", attempts=2, backoff_s=0.01)
    with pytest.raises(MachineError, match=r"did not take a\.mp4: it can't be reached \(ConnectError\)"):
        run(nobody, shot(tmp_path / "a.mp4"))


def test_a_caption_that_is_there_meanwhile_stays(gemini: StandinGemini, tmp_path: Path) -> None:
    item = shot(tmp_path / "a.mp4")
    item.caption_file.write_text("mine")
    assert run(way(gemini), item) == []
    assert item.caption_file.read_text() == "mine"
