"""Archives and folders from anywhere become a dataset folder: safe, whole, an image with its caption."""

import errno
import io
import os
import random
import shutil
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image

from musabi.dataset import convert_image, placing
from musabi.dataset.archive import Limits
from musabi.dataset.incoming import Brought, in_words
from musabi.dataset.safe_names import safe_stem
from musabi.dataset.unpack import unpack
from musabi.errors import MachineError, RequestError

ORIENTATION = 0x0112


def picture(
    form: str = "PNG", size: tuple[int, int] = (8, 6), color: str = "navy", mode: str = "RGB"
) -> bytes:
    """Return a picture as a file's bytes."""
    if form == "HEIF":
        pillow_heif.register_heif_opener()
    written = io.BytesIO()
    Image.new(mode, size, color).save(written, form)
    return written.getvalue()


PNG, RED = picture(), picture(color="red")


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def pack_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def noise(size: int) -> bytes:
    return random.Random(1).randbytes(size)  # noqa: S311 - the same bytes each time, no secret


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "dataset" / "images"


@pytest.fixture
def nothing_left(tmp_path: Path, images: Path) -> Callable[[], None]:
    """Asserts that no hidden folder and nothing outside of the dataset folder is left."""

    def look() -> None:
        assert [name for name in names(images.parent) if name != "images"] == []
        assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]

    return look


def reasons(brought: Brought) -> dict[str, str]:
    return {one.name: one.reason for one in brought.left_out}


# What comes in


def test_two_folders_with_the_same_names_keep_each_image_with_its_caption(
    tmp_path: Path, images: Path, nothing_left: Callable[[], None]
) -> None:
    files = {"a/1.png": PNG, "a/1.txt": b"blue", "b/1.png": RED, "b/1.txt": b"red", "b/2.png": RED}
    brought = unpack(pack(tmp_path / "photos.zip", files), images)
    assert names(images) == ["1.png", "1.txt", "2.png", "b_1.png", "b_1.txt"]
    assert (images / "1.png").read_bytes() == PNG and (images / "1.txt").read_text() == "blue"
    assert (images / "b_1.png").read_bytes() == RED and (images / "b_1.txt").read_text() == "red"
    assert (brought.images, brought.captions) == (3, 2)
    assert brought.renamed == (("b/1.txt", "b_1.txt"), ("b/1.png", "b_1.png"))
    nothing_left()


def test_two_images_of_one_stem_get_names_and_captions_of_their_own(tmp_path: Path, images: Path) -> None:
    files = {"x.png": PNG, "x.jpg": picture("JPEG"), "x.txt": b"both"}
    unpack(pack(tmp_path / "a.zip", files), images)
    assert names(images) == ["x-2.png", "x-2.txt", "x.jpg", "x.txt"]
    assert (images / "x-2.txt").read_text() == (images / "x.txt").read_text() == "both"
    (images / "x.txt").write_text("changed")
    assert (images / "x-2.txt").read_text() == "both"


def test_what_systems_leave_in_archives_is_dropped(tmp_path: Path, images: Path) -> None:
    junk = ("__MACOSX/a/._1.png", ".DS_Store", "a/.DS_Store", "a/Thumbs.db", "desktop.ini", ".hidden/x.png")
    brought = unpack(pack(tmp_path / "a.zip", {"a/1.png": PNG, **dict.fromkeys(junk, b"x")}), images)
    assert names(images) == ["1.png"]
    assert brought.left_out == ()


def test_other_files_are_left_out_and_said(tmp_path: Path, images: Path) -> None:
    files = {
        "1.png": PNG,
        "inner.zip": b"PK\3\4",
        "notes.json": b"{}",
        "run.sh": b"rm -rf /",
        "m.jsonl": b"{}\n",
    }
    brought = unpack(pack(tmp_path / "a.zip", files), images)
    assert names(images) == ["1.png", "m.jsonl"]
    assert "archive inside the archive" in reasons(brought)["inner.zip"]
    assert set(reasons(brought)) == {"inner.zip", "notes.json", "run.sh"}
    assert any("inner.zip" in line for line in in_words(brought))


def test_videos_and_captions_pass_through(tmp_path: Path, images: Path) -> None:
    files = {"v.MP4": b"video", "v.txt": b"a clip", "w.webm": b"v", "x.png": PNG, "x.caption": b"c"}
    brought = unpack(pack(tmp_path / "a.zip", files), images)
    assert names(images) == ["v.mp4", "v.txt", "w.webm", "x.caption", "x.png"]
    assert (brought.images, brought.videos, brought.captions) == (1, 2, 2)


@pytest.mark.parametrize("packer", ["tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_tar_archives_come_in_too(packer: str, tmp_path: Path, images: Path) -> None:
    mode = "w:" + packer.partition(".")[2]
    unpack(pack_tar(tmp_path / f"a.{packer}", {"./d/1.png": PNG, "./d/1.txt": b"c"}, mode), images)
    assert names(images) == ["1.png", "1.txt"]


def test_a_folder_comes_in_with_its_archives_and_without_its_links(tmp_path: Path, images: Path) -> None:
    source = tmp_path / "mine"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "1.png").write_bytes(PNG)
    (source / "1.png").write_bytes(RED)
    (source / "secret.txt").symlink_to("/etc/passwd")
    (source / "outside").symlink_to("/etc")
    pack(source / "more.zip", {"1.png": picture(color="green"), "1.txt": b"green"})
    brought = unpack(source, images)
    assert names(images) == ["1.png", "more_1.png", "more_1.txt", "sub_1.png"]
    assert set(reasons(brought)) == {"secret.txt", "outside"}
    (images / "1.png").write_bytes(b"edited")
    assert (source / "1.png").read_bytes() == RED


def test_one_image_comes_in_by_itself(tmp_path: Path, images: Path) -> None:
    (tmp_path / "me.png").write_bytes(PNG)
    assert unpack(tmp_path / "me.png", images).images == 1
    assert names(images) == ["me.png"]


def test_files_of_a_folder_are_unpacked_only_where_they_are_named_as_archives(
    tmp_path: Path, images: Path
) -> None:
    source = tmp_path / "mine"
    (source / ".hidden").mkdir(parents=True)
    for name in ("letter.docx", "weights.pt", "latents.npz", "._more.zip", ".hidden/more.zip"):
        pack(source / name, {"inside.png": PNG})
    pack(source / "more.zip", {"1.png": PNG})
    brought = unpack(source, images)
    assert names(images) == ["1.png"]
    assert set(reasons(brought)) == {"letter.docx", "weights.pt", "latents.npz"}


def test_captions_in_a_folder_of_their_own_find_their_image(tmp_path: Path, images: Path) -> None:
    files = {"images/1.png": PNG, "captions/1.txt": b"one", "IMG_2.png": RED, "img_2.txt": b"two"}
    brought = unpack(pack(tmp_path / "a.zip", files), images)
    assert names(images) == ["1.png", "1.txt", "IMG_2.png", "IMG_2.txt"]
    assert brought.renamed == (("img_2.txt", "IMG_2.txt"),)


def test_a_caption_that_could_be_of_two_images_joins_neither(tmp_path: Path, images: Path) -> None:
    files = {"a/1.png": PNG, "b/1.png": RED, "texts/1.txt": b"which?"}
    unpack(pack(tmp_path / "a.zip", files), images)
    assert names(images) == ["1.png", "b_1.png", "texts_1.txt"]


# Images that the trainer can't read


def test_heic_and_tiff_are_converted_and_keep_their_captions(tmp_path: Path, images: Path) -> None:
    files = {
        "a.HEIC": picture("HEIF", (64, 48)), "a.txt": b"a", "b.tif": picture("TIFF"), "b.txt": b"b",
        "c.gif": picture("GIF"), "d.jpg": picture("HEIF", (64, 48)), "d.txt": b"d",
    }  # fmt: skip
    brought = unpack(pack(tmp_path / "a.zip", files), images)
    assert names(images) == ["a.jpg", "a.txt", "b.png", "b.txt", "c.png", "d.jpg", "d.txt"]
    assert brought.converted == 4
    for name, size in (("a.jpg", (64, 48)), ("b.png", (8, 6)), ("d.jpg", (64, 48))):
        with Image.open(images / name) as opened:
            assert (opened.format, opened.size) == ("JPEG" if name.endswith("jpg") else "PNG", size)


@pytest.mark.parametrize(("form", "name"), [("TIFF", "a.tiff"), ("JPEG", "a.jfif")])
def test_a_converted_image_is_stored_upright(form: str, name: str, tmp_path: Path, images: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    written = io.BytesIO()
    Image.new("RGB", (8, 4), "red").save(written, form, exif=exif)
    unpack(pack(tmp_path / "a.zip", {name: written.getvalue()}), images)
    (made,) = images.iterdir()
    with Image.open(made) as opened:
        assert opened.size == (4, 8)
        assert opened.getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV])
def test_a_disk_without_hard_links_does_too(
    number: int, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_names: object) -> None:
        raise OSError(number, "no links here")

    monkeypatch.setattr(os, "link", refuses)
    archive = pack(tmp_path / "a.zip", {"x.png": PNG, "x.jpg": picture("JPEG"), "x.txt": b"both"})
    unpack(archive, images)
    assert names(images) == ["x-2.png", "x-2.txt", "x.jpg", "x.txt"]
    (images / "x.txt").write_text("edited")
    unpack(archive, images)
    assert len(names(images)) == 4 and (images / "x.txt").read_text() == "edited"


def test_a_file_that_appears_meanwhile_stays_where_there_are_no_hard_links(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(PNG)
    (tmp_path / "1.png").write_bytes(RED)
    with pytest.raises(FileExistsError):
        placing._copy_into_place(tmp_path / "new", tmp_path / "1.png")
    assert (tmp_path / "1.png").read_bytes() == RED and names(tmp_path) == ["1.png", "new"]


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), "RGB"),
        ("I;16", 65535, "L"),
        ("F", 0.5, "L"),
        ("1", 1, "RGB"),
        ("P", 1, "RGB"),
        ("RGBA", (1, 2, 3, 4), "RGBA"),
        ("LA", (9, 4), "RGBA"),
    ],
)
def test_every_mode_of_a_tiff_becomes_eight_bits(
    mode: str, color: object, expected: str, tmp_path: Path, images: Path
) -> None:
    written = io.BytesIO()
    Image.new(mode, (4, 4), color).save(written, "TIFF")  # type: ignore[arg-type]
    unpack(pack(tmp_path / "a.zip", {"a.tif": written.getvalue()}), images)
    with Image.open(images / "a.png") as opened:
        assert opened.mode == expected
        if mode == "I;16":
            assert opened.getpixel((0, 0)) == 255


def test_an_image_that_cannot_be_read_is_left_out_with_its_caption(tmp_path: Path, images: Path) -> None:
    files = {"good.png": PNG, "bad.png": b"not a picture", "bad.txt": b"c", "cut.heic": picture("HEIF")[:200]}
    brought = unpack(pack(tmp_path / "a.zip", files), images)
    assert names(images) == ["good.png"]
    assert set(reasons(brought)) == {"bad.png", "bad.txt", "cut.heic"}


def test_an_image_with_too_many_pixels_is_never_decoded(tmp_path: Path, images: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9)))
    brought = unpack(pack(tmp_path / "a.zip", {"huge.png": huge, "1.png": PNG}), images)
    assert names(images) == ["1.png"]
    assert "pixels" in reasons(brought)["huge.png"]


def test_the_cap_on_pixels_holds_for_images_that_are_converted(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert_image, "MOST_PIXELS", 40)
    brought = unpack(
        pack(tmp_path / "a.zip", {"a.tif": picture("TIFF"), "b.tif": picture("TIFF", (5, 5))}), images
    )
    assert names(images) == ["b.png"] and "pixels" in reasons(brought)["a.tif"]


# Names


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("Zoë 日本", "Zoë 日本"),
        ("e\u0301", "é"),
        ('a<b>:"c|d?e*', "a_b___c_d_e_"),
        ("tab\there\x1b[31m", "tab_here__31m"),
        ("\u202egnp.exe", "_gnp.exe"),
        ("CON", "_CON"),
        ("lpt1.old", "_lpt1.old"),
        ("-rf", "rf"),
        ("..", "file"),
        ("x[1]", "x_1_"),
        ("end. ", "end"),
        ("", "file"),
    ],
)
def test_names_are_made_safe(given: str, safe: str) -> None:
    assert safe_stem(given) == safe


def test_long_names_are_cut_between_letters_and_stay_apart(tmp_path: Path, images: Path) -> None:
    files = {f"{'語' * 70}{number}.png": PNG for number in range(3)}
    unpack(pack(tmp_path / "a.zip", files), images)
    found = names(images)
    assert len(found) == 3 and all(len(name.encode()) <= 130 for name in found)


def test_names_without_the_utf8_flag_are_read_as_their_maker_meant(tmp_path: Path, images: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("AAAAAA.png", PNG)
        opened.writestr("B.png", RED)
    raw = archive.read_bytes().replace(b"AAAAAA", "日本".encode()).replace(b"B.png", b"\x81.png")
    archive.write_bytes(raw)
    unpack(archive, images)
    assert names(images) == ["ü.png", "日本.png"]


def test_names_that_differ_in_case_alone_stay_apart(tmp_path: Path, images: Path) -> None:
    unpack(pack(tmp_path / "a.zip", {"A.png": PNG, "a.png": RED}), images)
    assert sorted(name.lower() for name in names(images)) == ["a-2.png", "a.png"]


def test_extensions_that_the_trainer_would_pass_over_are_spelled_as_it_reads_them(
    tmp_path: Path, images: Path
) -> None:
    unpack(pack(tmp_path / "a.zip", {"a.Png": PNG, "a.TXT": b"c"}), images)
    assert names(images) == ["a.png", "a.txt"]


# What is there already


def test_the_same_archive_again_changes_nothing(tmp_path: Path, images: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"1.png": PNG, "1.txt": b"c", "h.heic": picture("HEIF", (64, 64))})
    unpack(archive, images)
    before = {path.name: path.stat().st_mtime_ns for path in images.iterdir()}
    again = unpack(archive, images)
    assert {path.name: path.stat().st_mtime_ns for path in images.iterdir()} == before
    assert (again.already_there, again.images, again.renamed) == (3, 2, ())


def test_another_file_of_that_name_stays_and_the_pair_gets_a_new_one(tmp_path: Path, images: Path) -> None:
    images.mkdir(parents=True)
    (images / "1.png").write_bytes(RED)
    (images / "1.txt").write_text("mine")
    brought = unpack(pack(tmp_path / "a.zip", {"1.png": PNG, "1.txt": b"theirs"}), images)
    assert (images / "1.png").read_bytes() == RED and (images / "1.txt").read_text() == "mine"
    assert (images / "1-2.png").read_bytes() == PNG and (images / "1-2.txt").read_text() == "theirs"
    assert set(brought.renamed) == {("1.png", "1-2.png"), ("1.txt", "1-2.txt")}


def test_an_image_never_shares_its_stem_with_one_that_is_there(tmp_path: Path, images: Path) -> None:
    images.mkdir(parents=True)
    (images / "1.jpg").write_bytes(picture("JPEG"))
    unpack(pack(tmp_path / "a.zip", {"1.png": PNG, "1.txt": b"c"}), images)
    assert names(images) == ["1-2.png", "1-2.txt", "1.jpg"]


def test_a_caption_that_a_person_edited_stays(tmp_path: Path, images: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"1.png": PNG, "1.txt": b"c"})
    unpack(archive, images)
    (images / "1.txt").write_text("edited")
    brought = unpack(archive, images)
    assert names(images) == ["1.png", "1.txt"] and (images / "1.txt").read_text() == "edited"
    assert "was kept" in reasons(brought)["1.txt"]


# What is refused


def refused(archive: Path, images: Path, words: str, **limits: int) -> None:
    with pytest.raises(RequestError, match=words):
        unpack(archive, images, limits=Limits(**limits))
    assert names(images) == [] and names(images.parent) in ([], ["images"])


@pytest.mark.parametrize(
    "name",
    ["../out.png", "a/../../out.png", "/etc/out.png", "C:\\out.png", "..\\..\\out.png", "\\\\host\\x.png"],
)
@pytest.mark.parametrize("packer", [pack, pack_tar])
def test_a_path_that_leads_out_is_refused(
    packer: Callable[..., Path], name: str, tmp_path: Path, images: Path
) -> None:
    refused(packer(tmp_path / "a.zip", {"1.png": PNG, name: PNG}), images, "leads out")
    assert not list(tmp_path.rglob("out.png"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path, images: Path) -> None:
    archive = pack_tar(tmp_path / "a.tar", {"1.png": PNG}, "w")
    with tarfile.open(archive, "a") as opened:
        info = tarfile.TarInfo("x.png")
        info.type, info.linkname = kind, "/etc/passwd"
        opened.addfile(info)
    refused(archive, images, "a link|a device")


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o010666])
def test_links_and_devices_in_a_zip_are_refused(mode: int, tmp_path: Path, images: Path) -> None:
    info = zipfile.ZipInfo("x.png")
    info.create_system, info.external_attr = 3, mode << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("1.png", PNG)
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path / "a.zip", images, "a link|a device")


def test_a_locked_zip_is_refused(tmp_path: Path, images: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"1.png": PNG})
    raw = bytearray(archive.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(raw)
    refused(archive, images, "locked with a password")


def test_a_zip_that_was_cut_off_or_damaged_is_refused(tmp_path: Path, images: Path) -> None:
    whole = pack(tmp_path / "whole.zip", {"1.png": PNG, "2.txt": noise(4000)}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.zip", images, "broken")
    damaged = bytearray(whole)
    damaged[whole.index(b"2.txt") + 500] ^= 0xFF
    (tmp_path / "damaged.zip").write_bytes(damaged)
    refused(tmp_path / "damaged.zip", images, "broken")


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
def test_a_tar_that_was_cut_off_is_refused(cut: float, tmp_path: Path, images: Path) -> None:
    files = {"1.png": PNG, "2.txt": noise(60_000)}
    whole = pack_tar(tmp_path / "whole.tar.gz", files).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: int(len(whole) * cut)])
    refused(tmp_path / "cut.tar.gz", images, "broken")


def test_a_bomb_ends_while_it_is_written(tmp_path: Path, images: Path) -> None:
    zeros = bytes(30_000_000)
    refused(
        pack(tmp_path / "a.zip", {"1.png": PNG, "z.txt": zeros}),
        images,
        "times its size",
        ratio_from=1_000_000,
    )
    refused(pack_tar(tmp_path / "a.tgz", {"z.txt": zeros}), images, "times its size", ratio_from=1_000_000)
    refused(pack_tar(tmp_path / "b.tgz", {"z.bin": zeros}), images, "times its size", ratio_from=1_000_000)
    refused(pack(tmp_path / "b.zip", {"z.txt": zeros}), images, "unpacks to more than", total=20_000_000)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_with_a_name_of_megabytes_is_refused(form: int, tmp_path: Path, images: Path) -> None:
    info = tarfile.TarInfo("n" * 2_000_000 + "/1.txt")
    with tarfile.open(tmp_path / "a.tgz", "w:gz", format=form) as archive:
        archive.addfile(info)
    refused(tmp_path / "a.tgz", images, "too long")


def test_what_a_tar_holds_beside_its_members_is_counted(tmp_path: Path, images: Path) -> None:
    with tarfile.open(tmp_path / "a.tgz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for number in range(20):
            info = tarfile.TarInfo(f"{number}.txt")
            info.pax_headers = {"comment": "x" * 500_000}
            archive.addfile(info)
    refused(tmp_path / "a.tgz", images, "times its size", ratio_from=1_000_000)


def test_a_header_that_lies_about_a_size_changes_nothing(tmp_path: Path, images: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"z.txt": bytes(5_000_000)})
    raw = bytearray(archive.read_bytes())
    entry = raw.index(b"PK\1\2")
    raw[entry + 24 : entry + 28] = struct.pack("<I", 100)
    raw[22:26] = struct.pack("<I", 100)
    archive.write_bytes(raw)
    refused(archive, images, "broken")


def test_too_many_members_are_refused(tmp_path: Path, images: Path) -> None:
    refused(
        pack(tmp_path / "a.zip", {f"{n}.txt": b"x" for n in range(30)}),
        images,
        "more than 20 files",
        members=20,
    )


@pytest.mark.parametrize("content", [b"", b"plain words", b"\x1f\x8bnot really", b"PK\3\4 nor this"])
def test_what_is_no_archive_is_said_so(content: bytes, tmp_path: Path, images: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(RequestError):
        unpack(tmp_path / "a.zip", images)
    assert names(images) == []


def test_a_source_that_is_not_there_or_holds_nothing_is_said(tmp_path: Path, images: Path) -> None:
    with pytest.raises(RequestError, match="is not there"):
        unpack(tmp_path / "no.zip", images)
    with pytest.raises(RequestError, match="no image, video or caption"):
        unpack(pack(tmp_path / "a.zip", {"x.json": b"{}"}), images)
    assert not images.exists()


def test_an_archive_that_does_not_fit_is_refused_beforehand(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musabi.hub.room.free_bytes", lambda _folder: 64 * 1024**2 + 10)
    with pytest.raises(MachineError, match="too small"):
        unpack(pack(tmp_path / "a.zip", {"1.png": PNG}), images)
    assert not images.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_disk_that_runs_full_leaves_the_dataset_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(small)], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        monkeypatch.setattr("musabi.hub.room.free_bytes", lambda _folder: 10**12)
        files = {"1.png": PNG, "z.txt": noise(4_000_000)}
        with pytest.raises(OSError, match="No space left"):
            unpack(pack(tmp_path / "a.zip", files), small / "images")
        assert names(small) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


# Anything at all


def hostile(rng: random.Random, path: Path) -> None:
    """Write an archive of random members under random names."""
    parts = ["a", "..", ".", "b ", "ü", "CON", "x\x07", "1", "1", "__MACOSX", "~", "-x", "日", "a:b", "q[z]"]
    ends = [".png", ".PNG", ".jpg", ".txt", ".heic", ".tif", ".zip", ".mp4", "", ".exe", ".txt.png"]
    names = ["/".join(rng.choices(parts, k=rng.randint(1, 4))) + rng.choice(ends) for _ in range(12)]
    contents = [PNG, RED, b"", b"caption", picture("TIFF"), picture("HEIF", (64, 64)), rng.randbytes(50)]
    if rng.random() < 0.5:
        names = [name.replace("..", "dots") for name in names]
    packer = rng.choice([pack, pack_tar])
    packer(path, {name: rng.choice(contents) for name in names})
    if rng.random() < 0.2:
        raw = bytearray(path.read_bytes())
        raw[rng.randrange(len(raw))] ^= 0xFF
        path.write_bytes(raw)


def check_one(seed: int, folder: Path) -> None:
    """Unpack a random archive twice: nothing escapes, every name is safe, the second time changes nothing."""
    rng = random.Random(seed)  # noqa: S311 - the same archive each time, no secret
    images = folder / "in" / "images"
    images.mkdir(parents=True)
    hostile(rng, folder / "a.bin")
    try:
        first = unpack(folder / "a.bin", images)
    except RequestError:
        assert names(images) == []
    else:
        found = names(images)
        again = unpack(folder / "a.bin", images)
        assert names(images) == found and again.renamed == first.renamed
        assert all(safe_stem(Path(name).stem) == Path(name).stem for name in found)
        assert len({name.casefold() for name in found}) == len(found)
    assert names(folder) == ["a.bin", "in"] and names(folder / "in") == ["images"]
    shutil.rmtree(folder)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("block", range(2))
def test_random_archives_neither_escape_nor_overwrite(block: int, tmp_path: Path) -> None:
    for seed in range(block * 20, block * 20 + 20):
        check_one(seed, tmp_path / str(seed))


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_many_random_archives_neither_escape_nor_overwrite(tmp_path: Path) -> None:
    for seed in range(100, 1600):
        check_one(seed, tmp_path / str(seed))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_no_limit_would_stop_in_time_is_refused(tmp_path: Path, images: Path, method: int) -> None:
    archive = tmp_path / "small.zip"
    with zipfile.ZipFile(archive, "w", method) as file:
        file.writestr("1.png", b"\0" * 1_000_000)
    refused(archive, images, "packed in an unusual way")
