"""A folder with one file of each kind that the trainer drops, misreads or stops at."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from musabi.dataset.asked import Asked
from musabi.dataset.check import Report, check
from musabi.dataset.config import read_config
from musabi.dataset.marks import marks
from musabi.dataset.mending import Mended, mend
from musabi.dataset.sheet import render

SIDE = 160


def photo(seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """Return a picture that looks like no other of another seed."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def cut_out() -> Image.Image:
    picture = photo(1).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((SIDE, SIDE)))
    return picture


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(2, (240, 160)).save(path, exif=exif.tobytes())


def halved(path: Path) -> None:
    photo(3).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def deep(path: Path) -> None:
    ramp = np.linspace(0, 65535, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)
    Image.fromarray(ramp).save(path)


def moving(path: Path) -> None:
    photo(sum(path.name.encode())).save(path, save_all=True, append_images=[photo(99), photo(98)])


@dataclass(frozen=True)
class Kind:
    """A file of the folder: `words` of the finding that names it, `level`, `left_out` where nothing mends it.

    `mended` is its name in the copy and a word of what was done, None where it is copied as it is.
    """

    name: str
    draw: Callable[[Path], object]
    level: str = ""
    words: str = ""
    mended: tuple[str, str] | None = None
    left_out: bool = False
    caption: bytes | None = b"ohwx woman, a photo of its own"


KINDS = (
    Kind("good.png", lambda path: photo(10).save(path)),
    Kind("opaque.png", lambda path: photo(11).convert("RGBA").save(path)),
    Kind("LOUD.JPG", lambda path: photo(12).save(path)),
    Kind(
        "Mixed.Jpg",
        lambda path: photo(13).save(path, "JPEG"),
        "warning",
        "passes over",
        ("Mixed.jpg", "ending"),
    ),
    Kind("scan.tiff", lambda path: photo(14).save(path), "warning", "passes over", ("scan.png", "from TIFF")),
    Kind("moving.gif", moving, "warning", "passes over", ("moving.png", "first frame")),
    Kind(
        "phone.heic",
        lambda path: pillow_heif.from_pillow(photo(15)).save(path),
        "warning",
        "passes over",
        ("phone.jpg", "from HEIC"),
    ),
    Kind(
        "sent.jpg",
        lambda path: pillow_heif.from_pillow(photo(16)).save(path),
        "error",
        "is a HEIC picture under another name",
        ("sent.jpg", "from HEIC"),
    ),
    Kind("turned.jpg", turned, "warning", "stored turned", ("turned.jpg", "upright")),
    Kind("deep.png", deep, "error", "16 bits a channel", ("deep.png", "8 bits a channel")),
    Kind(
        "print.jpg",
        lambda path: photo(17).convert("CMYK").save(path),
        "warning",
        "CMYK",
        ("print.jpg", "print"),
    ),
    Kind("cutout.png", lambda path: cut_out().save(path), "warning", "transparent", ("cutout.png", "white")),
    Kind(
        "palette.png",
        lambda path: photo(18).quantize(16).save(path, transparency=3),
        "warning",
        "transparent",
        ("palette.png", "white"),
    ),
    Kind("moving.webp", moving, "warning", "several frames", ("moving-2.png", "first frame")),
    Kind("apng.png", moving, "warning", "several frames", ("apng.png", "first frame")),
    Kind("moves.avif", moving, "warning", "several frames", ("moves.png", "first frame")),
    Kind("tiny.png", lambda path: photo(19, (40, 40)).save(path), "warning", "enlarged"),
    Kind("cut.jpg", halved, "error", "is cut off", left_out=True),
    Kind("zeros.png", lambda path: path.write_bytes(bytes(900)), "error", "nothing but zeros", left_out=True),
    Kind("empty.png", lambda path: path.write_bytes(b""), "error", "is empty", left_out=True),
    Kind("page.jpg", lambda path: path.write_text("<!DOCTYPE html>"), "error", "a web page", left_out=True),
    Kind(
        "pointer.png",
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "error",
        "Git LFS",
        left_out=True,
    ),
    Kind("noise.bmp", lambda path: path.write_text("nothing"), "error", "is not an image", left_out=True),
    Kind("bare.png", lambda path: photo(20).save(path), "error", "without a .txt", caption=None),
    Kind("hollow.png", lambda path: photo(21).save(path), "warning", "empty caption", caption=b" \n"),
    Kind(
        "accents.png",
        lambda path: photo(22).save(path),
        "error",
        "looks like Windows-1252. Save it as UTF-8, or run musabi check --fix for a copy that is.",
        ("accents.png", "Windows-1252"),
        caption="ohwx in a café, très élégant".encode("cp1252"),
    ),
    Kind(
        "notepad.png",
        lambda path: photo(23).save(path),
        "error",
        "looks like UTF-16",
        ("notepad.png", "UTF-16"),
        caption="ohwx woman".encode("utf-16"),
    ),
    Kind(
        "marked.png",
        lambda path: photo(24).save(path),
        "warning",
        "byte-order mark",
        ("marked.png", "byte-order mark"),
        caption=b"\xef\xbb\xbfohwx woman",
    ),
    Kind(
        "nuls.png",
        lambda path: photo(25).save(path),
        "warning",
        "control characters",
        ("nuls.png", "UTF-16"),
        caption="ohwx woman, plain".encode("utf-16-le"),
    ),
    Kind(
        "other.png", lambda path: photo(26).save(path), "warning", "without the trigger", caption=b"a woman"
    ),
    Kind(
        "shout.png", lambda path: photo(27).save(path), "warning", "another spelling", caption=b"OHWX woman"
    ),
    Kind(
        "novel.png",
        lambda path: photo(28).save(path),
        "warning",
        "tokens",
        caption=b"ohwx " + b"a very detailed photograph of it, " * 200,
    ),
    Kind("copy1.png", lambda path: photo(29).save(path), "warning", "more than once"),
    Kind("copy2.png", lambda path: photo(29).save(path), "warning", "more than once"),
    Kind("like1.png", lambda path: photo(30).save(path), "note", "look alike"),
    Kind("like2.jpg", lambda path: photo(30, (120, 120)).save(path, quality=70), "note", "look alike"),
    Kind("twin.jpg", lambda path: photo(31).save(path), "error", "share the name"),
    Kind("twin.png", lambda path: photo(32).save(path), "error", "share the name", ("twin-2.png", "renamed")),
)


@dataclass(frozen=True)
class World:
    root: Path
    report: Report
    mended: Mended
    before: dict[str, bytes]

    def after(self) -> dict[str, bytes]:
        return contents(self.root / "images")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("nasty")
    images = root / "images"
    (images / "old").mkdir(parents=True)
    for kind in KINDS:
        kind.draw(images / kind.name)
        if kind.caption is not None:
            (images / kind.name).with_suffix(".txt").write_bytes(kind.caption)
    toml = root / "dataset.toml"
    toml.write_text(
        f'# the one\n[general]\nresolution = {SIDE}\ncaption_extension = ".txt"\nenable_bucket = true\n'
        f'[[datasets]]\nimage_directory = "{images}"\ncache_directory = "{root / "cache"}"\n'
    )
    before = contents(images)
    config = read_config(toml)
    config = type(config)(config.path, tuple(_short(dataset) for dataset in config.datasets))
    report = check(config, Asked(trigger_word="ohwx"))
    return World(root, report, mend(config, report.seen, root / "mended"), before)


def _short(dataset: Any) -> Any:
    from dataclasses import replace

    return replace(dataset, rules=dataset.rules.model_copy(update={"caption_tokens": 300}))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.words], ids=lambda kind: kind.name)
def test_each_kind_is_named_with_what_is_wrong(world: World, kind: Kind) -> None:
    stems = (kind.name, str(Path(kind.name).with_suffix(".txt")))
    found = [one for one in world.report.findings if kind.words in one.message]
    assert found, [one.message for one in world.report.findings]
    assert any(stem in one.message for one in found for stem in stems)
    assert {one.level for one in found} == {kind.level}


def test_good_files_are_named_nowhere(world: World) -> None:
    said = "\n".join(one.message for one in world.report.findings)
    for kind in KINDS:
        assert kind.words or kind.name not in said
    assert "subfolders" in said


def test_every_message_is_one_to_three_plain_sentences(world: World) -> None:
    for one in world.report.findings:
        assert one.message.endswith(("!", ".")) and len(one.message) < 600, one.message
        assert "Error" not in one.message and "Traceback" not in one.message


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_copy_holds_what_can_be_mended(world: World, kind: Kind) -> None:
    source = world.root / "images" / kind.name
    left_out = {path for path, _ in world.mended.outcome.left_out}
    changes = {one.source: one for one in world.mended.outcome.changes}
    assert (source in left_out) == kind.left_out
    if kind.left_out:
        return
    if kind.mended is None:
        assert source not in changes
        assert (world.mended.folder / "images" / kind.name).read_bytes() == source.read_bytes()
        return
    name, word = kind.mended
    assert changes[source].name == name
    assert any(word in what for what in changes[source].what)
    with Image.open(world.mended.folder / "images" / name) as opened:
        opened.load()
        assert opened.mode in ("RGB", "L", "RGBA")
        assert getattr(opened, "n_frames", 1) == 1
        assert not opened.getexif()
    caption = (world.mended.folder / "images" / name).with_suffix(".txt")
    assert caption.read_text(encoding="utf-8").startswith("ohwx")


def test_the_copy_is_good_but_for_what_only_a_person_can_mend(world: World) -> None:
    report = check(read_config(world.mended.toml), Asked(allow_missing_captions=True))
    assert report.trainable, [one.message for one in report.findings]
    said = "\n".join(one.message for one in report.findings)
    for gone in ("passes over", "stored turned", "CMYK", "transparent", "several frames", "byte-order"):
        assert gone not in said


def test_the_originals_are_not_touched(world: World) -> None:
    assert world.after() == world.before
    assert not (world.root / "originals").exists()


def test_the_toml_of_the_copy_keeps_its_comments_and_points_at_the_copy(world: World) -> None:
    text = world.mended.toml.read_text()
    assert text.startswith("# the one\n")
    assert f'image_directory = "{world.mended.folder / "images"}"' in text
    assert str(world.root / "cache") not in text


def test_the_sheet_shows_every_file_with_its_mark(world: World) -> None:
    found = {path.name: [mark.words for mark in each] for path, each in marks(world.report).items()}
    assert found["cutout.png"] == ["transparent"]
    assert found["bare.png"] == ["no caption"]
    assert "looks like Windows-1252" in found["accents.png"][0]
    assert found["copy1.png"] == ["the same file twice"]
    page = render(world.report, "2030-01-01 00:00")
    for kind in KINDS:
        assert kind.name in page
    assert "http://" not in page and "https://" not in page and "<script" not in page
