"""Draws a grid with Pillow. A cell without a picture stays grey and says so."""

import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musabi.errors import RequestError
from musabi.grid.layout import PALE, RULE, Box, Group, Row, Sheet, lay_out
from musabi.whole import replacing

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MOST_PIXELS = 200_000_000
GREY = "#e4e4e4"
# Fonts for letters that Pillow's own font lacks (it has ASCII): the first that the machine has.
CJK_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "NotoSansSC-Regular.ttf",
    "wqy-zenhei.ttc",
    "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf",
)
FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", *CJK_FONTS)
FIRST_CJK = 0x2E80


def draw_grid(
    groups: Sequence[Group],
    rows: Sequence[tuple[str, str]],
    pictures: Mapping[tuple[int, int], Path],
    cell: int,
    target: Path,
) -> list[tuple[int, int]]:
    """Write the grid to the PNG `target`, whole or not at all; return the cells whose picture can't be read.

    `rows` are text and details of every prompt, `pictures` is by (row, column): PNG files, or videos, of which
    the first frame is shown.

    Raises:
        RequestError: the picture would be too large.
    """
    from PIL import Image, ImageDraw

    opened = {place: _open(path) for place, path in pictures.items()}
    shapes = {row: picture.size for (row, _), picture in opened.items() if picture is not None}
    laid = [
        Row(readable(text), detail, shapes.get(number, (1, 1))) for number, (text, detail) in enumerate(rows)
    ]
    named = [Group(readable(group.label), group.strengths) for group in groups]
    fonts = _fonts("".join((*(row.text for row in laid), *(group.label for group in named))))
    sheet = lay_out(named, laid, cell, lambda text, size: float(_font(size, fonts).getlength(text)))
    _require_drawable(sheet)
    page = Image.new("RGB", (sheet.width, sheet.height), "white")
    drawing = ImageDraw.Draw(page)
    for place, box in sheet.cells.items():
        picture = opened.get(place)
        if picture is None:
            _draw_empty(drawing, box, sheet.font, "can't be read" if place in pictures else "missing")
        else:
            page.paste(
                picture.convert("RGB").resize((box.width, box.height), Image.Resampling.LANCZOS),
                (box.left, box.top),
            )
    for rule in sheet.rules:
        drawing.rectangle((rule.left, rule.top, rule.left + rule.width - 1, rule.top), fill=RULE)
    for text in sheet.texts:
        drawing.text((text.x, text.y), text.words, text.color, _font(text.size, fonts), text.anchor)
    with replacing(target) as part:
        page.save(part, format="PNG", optimize=True)
    return [place for place, picture in opened.items() if picture is None]


def readable(text: str) -> str:
    """Return the text as the fonts of this machine can write it: else without accents, and ? for the rest."""
    if text.isascii() or _found(_fonts(text)) is not None:
        return text
    letters = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(letter if letter.isascii() else "?" for letter in letters)


def first_frame(path: Path) -> "Picture":
    """Return the first frame of a video.

    Raises:
        ValueError: it has none that can be decoded.
    """
    import av

    try:
        with av.open(str(path)) as video:
            for frame in video.decode(video=0):
                picture: Picture = frame.to_image()  # type: ignore[no-untyped-call]
                return picture
    except (av.error.FFmpegError, IndexError) as problem:
        raise ValueError(str(problem)) from None
    raise ValueError("no frame")


def _open(path: Path) -> "Picture | None":
    """Return a picture that is read to its end, or None where it can't be."""
    from PIL import Image

    try:
        if path.suffix == ".mp4":
            return first_frame(path)
        with Image.open(path) as opened:
            opened.load()
            return opened.copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _draw_empty(drawing: Any, box: Box, size: int, words: str) -> None:  # noqa: ANN401 - Pillow's drawing
    drawing.rectangle((box.left, box.top, box.left + box.width - 1, box.top + box.height - 1), fill=GREY)
    middle = (box.left + box.width / 2, box.top + box.height / 2)
    drawing.text(middle, words, PALE, _font(size), "mm")


def _require_drawable(sheet: Sheet) -> None:
    if sheet.width * sheet.height > MOST_PIXELS:
        raise RequestError(
            f"The grid would be {sheet.width:,} x {sheet.height:,} pixels. Take smaller cells, such as --cell 128."
        )


def _fonts(text: str) -> tuple[str, ...]:
    """Return the fonts that have all letters of the text; none for Pillow's own."""
    if text.isascii():
        return ()
    return CJK_FONTS if any(ord(letter) >= FIRST_CJK for letter in text) else FONTS


@cache
def _found(names: tuple[str, ...]) -> str | None:
    from PIL import ImageFont

    for name in names:
        try:
            ImageFont.truetype(name, 12)
        except OSError:
            continue
        return name
    return None


@cache
def _font(size: int, names: tuple[str, ...] = ()) -> Any:  # noqa: ANN401 - one of Pillow's fonts
    from PIL import ImageFont

    name = _found(names)
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
