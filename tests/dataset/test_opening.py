"""Files of strangers are opened as what a dataset holds: nothing starts a program or asks an address."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from musabi.captioning import looking
from musabi.dataset import opening
from musabi.dataset.convert_image import make_ready
from musabi.dataset.decoding import look
from musabi.dataset.incoming import Notes, Raw
from musabi.dataset.opening import open_picture_file, open_video_file

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n%%Page: 1 1\nshowpage\n%%EOF\n"


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program named gs first on the path; it leaves a mark where it is run."""
    folder, mark = tmp_path / "bin", tmp_path / "was-run"
    folder.mkdir()
    (folder / "gs").write_text(f"#!/bin/sh\ntouch {mark}\nexit 1\n")
    (folder / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    return mark


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tiff"])
def test_postscript_under_a_picture_s_name_is_not_run(tmp_path: Path, ghostscript: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(EPS)
    notes = Notes()
    assert make_ready(Raw(name, file), tmp_path, notes) is None
    assert look(file).reason
    with pytest.raises(UnidentifiedImageError):
        open_picture_file(file)
    with pytest.raises(UnidentifiedImageError):
        looking.see({"file": str(file), "kind": "image"}, looking.Limits(1, 512, 512), 4)
    assert not ghostscript.exists()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "TGA", "ICO", "PPM", "PCX"])
def test_pictures_are_opened_by_their_content(tmp_path: Path, form: str) -> None:
    file = tmp_path / "a.png"
    Image.new("RGB", (64, 64), "red").save(file, form)
    with open_picture_file(file) as opened:
        assert (opened.format, opened.size) == (form, (64, 64))


def test_a_video_that_names_other_files_is_not_opened(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "real.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 64
        for packet in [
            *stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), "uint8"))),
            *stream.encode(),
        ]:
            out.mux(packet)
    with open_video_file(tmp_path / "real.mp4") as opened:
        assert len(list(opened.decode(video=0))) == 1
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/real.mp4\n#EXT-X-ENDLIST\n"
    )
    concat = tmp_path / "list.ffconcat"
    concat.write_text("ffconcat version 1.0\nfile real.mp4\n")
    for file in (playlist, concat):
        with av.open(str(file)) as opened:
            assert opened.format.name in ("hls", "concat"), "the library itself does open it"
        with pytest.raises(av.FFmpegError):
            open_video_file(file)
        with pytest.raises(av.FFmpegError):
            looking.video_frames(str(file), 4)


def test_the_captioning_worker_opens_the_same() -> None:
    assert (looking.PICTURES, looking.VIDEO_OPTIONS) == (opening.PICTURES, opening.VIDEO_OPTIONS)
