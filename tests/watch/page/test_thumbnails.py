"""Small pictures are made once, turned as the trainer sees them, and the oldest make room."""

import os
from pathlib import Path

import pytest
from PIL import Image

from musabi.errors import RequestError
from musabi.watch.page import thumbnails
from musabi.watch.page.thumbnails import begin, kept_file, make_thumbnail, picture_file, sweep


def test_the_longer_side_is_256_pixels_and_a_small_picture_stays_small(tmp_path: Path) -> None:
    for size, expected in (((1000, 500), (256, 128)), ((300, 600), (128, 256)), ((40, 30), (40, 30))):
        Image.new("RGB", size, "red").save(tmp_path / "a.jpg")
        make_thumbnail(tmp_path / "a.jpg", tmp_path / "small.jpg")
        with Image.open(tmp_path / "small.jpg") as small:
            assert (small.size, small.format) == (expected, "JPEG")


def test_a_photo_that_lies_on_its_side_is_shown_so_as_it_is_trained(tmp_path: Path) -> None:
    lying = Image.new("RGB", (400, 200), "red")
    exif = lying.getexif()
    exif[0x0112] = 6
    lying.save(tmp_path / "a.jpg", exif=exif)
    make_thumbnail(tmp_path / "a.jpg", tmp_path / "small.jpg")
    with Image.open(tmp_path / "small.jpg") as small:
        assert small.size == (256, 128)
        assert small.getexif().get(0x0112) is None  # nor does a browser turn it


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "I;16", "CMYK", "1", "L"])
def test_every_kind_of_pixel_becomes_a_picture(mode: str, tmp_path: Path) -> None:
    name = "a.jpg" if mode == "CMYK" else "a.png"
    Image.new(mode, (20, 20), 0).save(tmp_path / name)
    make_thumbnail(tmp_path / name, tmp_path / "small.jpg")
    with Image.open(tmp_path / "small.jpg") as small:
        assert small.mode == "RGB"
        if mode == "RGBA":
            assert min(small.tobytes()) > 250  # transparent parts are white


def test_a_video_shows_its_first_frame(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 320, 160, "yuv420p"
        for colour in ("red", "blue"):
            frame = av.VideoFrame.from_image(Image.new("RGB", (320, 160), colour))
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    make_thumbnail(tmp_path / "a.mp4", tmp_path / "small.jpg")
    with Image.open(tmp_path / "small.jpg") as small:
        red, _, blue = small.resize((1, 1)).tobytes()
        assert (small.size, red > 200, blue < 60) == ((256, 128), True, True)


def test_what_is_no_picture_leaves_nothing(tmp_path: Path) -> None:
    for name in ("a.png", "a.mp4"):
        (tmp_path / name).write_bytes(b"no picture")
        with pytest.raises(RequestError, match="can't be read"):
            make_thumbnail(tmp_path / name, tmp_path / "kept" / "small.jpg")
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_picture_that_changed_is_another_one(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"1")
    os.utime(picture, ns=(1, 1))
    first = kept_file(tmp_path, picture)
    os.utime(picture, ns=(2, 2))
    second = kept_file(tmp_path, picture)
    picture.write_bytes(b"12")
    os.utime(picture, ns=(2, 2))
    assert len({first, second, kept_file(tmp_path, picture)}) == 3
    picture.unlink()
    with pytest.raises(RequestError):
        kept_file(tmp_path, picture)


def test_they_are_made_by_threads_that_let_a_training_go_first(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    begin(tmp_path / "a.png", tmp_path / "small.jpg").result(10)
    assert (tmp_path / "small.jpg").is_file()
    niceness = thumbnails._pool().submit(lambda: os.getpriority(os.PRIO_PROCESS, 0)).result(10)
    assert niceness == 19 > os.getpriority(os.PRIO_PROCESS, 0)


def test_the_oldest_are_removed_when_they_are_too_many(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_bytes(b"x" * 100)
        os.utime(tmp_path / f"{number}.jpg", (number, number))
    sweep(tmp_path, 1_000)
    assert len(list(tmp_path.iterdir())) == 10
    sweep(tmp_path, 500)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["6.jpg", "7.jpg", "8.jpg", "9.jpg"]


@pytest.mark.parametrize(
    "name", ["../a.png", "a.txt", "b.png", ".hidden/a.png", "/etc/passwd", "", "out.png"]
)
def test_only_pictures_inside_the_workspace_are_shown(name: str, tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    root.mkdir()
    for path in (tmp_path / "a.png", root / "a.png", root / "a.txt"):
        path.write_bytes(b"1")
    (root / "out.png").symlink_to(tmp_path / "a.png")
    assert picture_file(root, "a.png") == root / "a.png"
    with pytest.raises(RequestError):
        picture_file(root, name)


def test_a_file_too_large_for_a_picture_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = tmp_path / "huge.png"
    Image.new("RGB", (64, 64)).save(huge)
    monkeypatch.setattr(thumbnails, "MOST_FILE_BYTES", huge.stat().st_size - 1)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read"))
    with pytest.raises(RequestError):
        thumbnails.make_thumbnail(huge, tmp_path / "small.jpg")
