"""Archives that nobody vouches for: whatever is in them, nothing lands outside of the job's dataset folder."""

import gzip
import io
import os
import random
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from musabi.errors import MusabiError
from peers.archives import picture, tarred, zipped
from peers.intake_job import Job

PNG = picture()
OUT = (
    "../out.png", "../../out.png", "a/../../out.png", "/srv/musabi-out.png", "/out.png", "C:\\out.png", "C:out.png",
    "..\\out.png", "a\\..\\..\\out.png", "\\\\host\\share\\out.png", "./../out.png", "a/./../../out.png", "a/..",
    "//out.png", "../dataset/../out.png", "../images/out.png", "../../job-2/dataset/images/out.png",
    "../request.json", "../result.json", "../../endpoint.sqlite3",
)  # fmt: skip
ODD = (
    "~/out.png", "$HOME/out.png", "out.png\0.txt", "a\nb.png", "\u202egnp.png", "CON.png", "-rf.png", " .png",
    "..png", "...", "x" * 400 + ".png", "\uff0e\uff0e/out.png", "%2e%2e%2fout.png", "a:b.png", "a|b.png",
)  # fmt: skip
PLAYLIST = b"#EXTM3U\n#EXTINF:1\nfile:///etc/passwd\n"
Made = tuple[str, bytes]


def link(kind: bytes, target: str, name: str = "x.png", then: str | None = None) -> bytes:
    """Return a tar with a picture, a special member, and another picture that goes through it."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        archive.addfile(_info("1.png"), io.BytesIO(PNG))
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        archive.addfile(info)
        if then:
            archive.addfile(_info(then), io.BytesIO(PNG))
    return written.getvalue()


def _info(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(PNG)
    return info


def zip_link(target: str) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("1.png", PNG)
        info = zipfile.ZipInfo("x.png")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, target)
    return written.getvalue()


def sized_to_lie() -> bytes:
    raw = bytearray(zipped({"z.txt": bytes(3_000_000), "1.png": PNG}))
    entry = raw.index(b"PK\1\2")
    raw[entry + 24 : entry + 28] = raw[22:26] = struct.pack("<I", 100)
    return bytes(raw)


def overlapping() -> bytes:
    """Return a zip whose many entries all point at the same bytes (D. Fifield's bomb, in small)."""
    raw = zipped({"z.txt": bytes(300_000)})
    start, end = raw.index(b"PK\1\2"), raw.index(b"PK\5\6")
    entry, number = raw[start:end], 200
    directory = b"".join(entry.replace(b"z.txt", f"{count:05d}"[-5:].encode()) for count in range(number))
    tail = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, number, number, len(directory), start, 0)
    return raw[:start] + directory + tail


def corpus() -> Iterator[Made]:
    for name in OUT:
        yield f"zip {name}", zipped({"1.png": PNG, name: PNG})
        yield f"tar {name}", tarred({"1.png": PNG, name: PNG})
    for name in ODD:
        yield f"odd {name[:20]}", zipped({"1.png": PNG, name.replace("\0", "_"): PNG})
    for kind, what in ((tarfile.SYMTYPE, "symlink"), (tarfile.LNKTYPE, "hard link")):
        for target in ("/etc/passwd", "../../request.json", "1.png", "..", "/"):
            yield f"{what} to {target}", link(kind, target)
        yield f"through a {what}", link(kind, "/srv", "d", "d/musabi-out.png")
    for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"V"):
        yield f"device {kind!r}", link(kind, "")
    yield "zip link", zip_link("/etc/passwd")
    yield "zip link within", zip_link("1.png")
    yield "bomb zip", zipped({"1.png": PNG, "z.txt": bytes(20_000_000)})
    yield "bomb tar", tarred({"1.png": PNG, "z.txt": bytes(20_000_000)})
    yield "bomb in what is skipped", tarred({"1.png": PNG, "z.bin": bytes(20_000_000)})
    yield "bomb in gzip", gzip.compress(gzip.compress(bytes(20_000_000)))
    yield "overlapping", overlapping()
    yield "lying size", sized_to_lie()
    yield "bzip2 zip", zipped({"1.png": PNG}, zipfile.ZIP_BZIP2)
    yield "lzma zip", zipped({"1.png": PNG}, zipfile.ZIP_LZMA)
    yield "cut zip", zipped({"1.png": PNG})[:60]
    yield "cut tar", tarred({"1.png": PNG})[:60]
    yield "empty", b""
    yield "text", b"plain words"
    yield "gzip of nothing", gzip.compress(b"")
    yield (
        "playlists",
        zipped(
            {"v.mp4": b"#EXTM3U\n#EXTINF:1\nfile:///etc/passwd\n", "c.avi": b"ffconcat version 1.0\nfile x"}
        ),
    )
    yield "huge picture", zipped({"1.png": huge()})
    yield "duplicate names", doubled()


def huge() -> bytes:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(9)))]
    packed = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def doubled() -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name in ("1.png", "1.png", "1.PNG", "./1.png"):
            archive.addfile(_info(name), io.BytesIO(PNG))
    return written.getvalue()


CORPUS = dict(corpus())
HARMLESS = {f"odd {name[:20]}" for name in ODD} | {"duplicate names"}
"""What may be taken, under safe names; everything else is refused, or nothing of it is left."""


def outside(job: Job) -> set[str]:
    """Return every path below the job's neighbourhood that is not in its dataset folder."""
    base = job.folder.path.parent
    return {
        str(path.relative_to(base))
        for path in base.rglob("*")
        if not path.is_relative_to(job.folder.dataset) and not path.is_relative_to(job.folder.updates)
    }


def is_plain(path: Path) -> bool:
    mode = os.lstat(path).st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


@pytest.mark.parametrize("name", CORPUS, ids=ascii)
def test_a_hostile_archive_does_not_escape(name: str, make_job: Callable[[str], Job]) -> None:
    job = make_job("job-1")
    neighbour = make_job("job-2").folder
    neighbour.make("job-2", {})
    url = job.add("a.bin", CORPUS[name])
    job.context({"type": "images", "images_url": url})
    before = outside(job)
    taken = True
    try:
        job.bring({"type": "images", "images_url": url}, endpoint_most_dataset_gb=0.005)
    except MusabiError as problem:
        taken = False
        assert "\x1b" not in str(problem) and "Traceback" not in str(problem)
    assert outside(job) - before <= {"job-1/download", "job-1/progress.json"}
    found = list(job.folder.dataset.rglob("*"))
    assert all(is_plain(path) for path in found)
    if taken:
        assert name in HARMLESS
        assert {path.parent for path in found if path.is_file()} == {job.folder.images}
    else:
        assert not [path for path in found if path.is_file()]
    assert not Path("/srv/musabi-out.png").exists()
    assert not [path for path in job.folder.path.parent.rglob("*out.png") if "images" not in path.parts]


def test_the_corpus_is_as_large_as_it_should_be() -> None:
    assert len(CORPUS) >= 80 and set(CORPUS) > HARMLESS


def test_random_damage_is_refused_in_plain_words(make_job: Callable[[str], Job]) -> None:
    rng = random.Random(5)  # noqa: S311 - the same each time, no secret
    whole = [zipped({"1.png": PNG, "1.txt": b"c"}), tarred({"1.png": PNG, "1.txt": b"c"}, "w")]
    for number in range(30):
        job = make_job(f"job-{number}")
        raw = bytearray(rng.choice(whole))
        for _ in range(rng.randint(1, 4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        try:
            job.bring({"type": "images", "images_url": job.add("a.bin", bytes(raw))})
        except MusabiError:
            assert not [path for path in job.folder.dataset.rglob("*") if path.is_file()]
