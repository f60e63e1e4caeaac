"""The sample pictures of a run as one picture: a row a prompt, a column a moment of the training."""

from pathlib import Path
from typing import TYPE_CHECKING

from musabi.watch.samples import Grid

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

CELL_PX = 256
GAP_PX = 6
LABEL_PX = 26
MOST_ROWS = 12


def draw_sheet(grid: Grid) -> "Picture | None":
    """Return the sheet, or None where there is no picture. Cells without a picture stay grey."""
    from PIL import Image, ImageDraw, ImageFont

    rows, columns = grid.prompts[:MOST_ROWS], grid.moments
    if not rows:
        return None
    step = CELL_PX + GAP_PX
    size = (len(columns) * step + GAP_PX, LABEL_PX + len(rows) * step + GAP_PX)
    sheet = Image.new("RGB", size, "white")
    drawing = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    for column, moment in enumerate(columns):
        left = GAP_PX + column * step
        drawing.text((left + CELL_PX // 2, LABEL_PX // 2 + 2), moment.label, "black", font, anchor="mm")
        for row, prompt in enumerate(rows):
            top = LABEL_PX + row * step
            drawing.rectangle((left, top, left + CELL_PX - 1, top + CELL_PX - 1), fill="#dddddd")
            picture = _cell(grid.cells.get((prompt, moment)))
            if picture is not None:
                middle = (left + (CELL_PX - picture.width) // 2, top + (CELL_PX - picture.height) // 2)
                sheet.paste(picture, middle)
    return sheet


def _cell(path: Path | None) -> "Picture | None":
    from PIL import Image

    if path is None:
        return None
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    picture.thumbnail((CELL_PX, CELL_PX))
    return picture
