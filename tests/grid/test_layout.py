"""Where a grid's pictures and labels stand: values only, with letters of a known width."""

import pytest

from musabi.grid.layout import Box, Group, Row, Sheet, lay_out, wrap


def letters(text: str, size: int) -> float:
    """Half the font's size a letter: a stand-in for a font."""
    return len(text) * size / 2


def bounds(box: Box) -> tuple[int, int, int, int]:
    return box.left, box.top, box.left + box.width, box.top + box.height


def apart(one: Box, other: Box) -> bool:
    left, top, right, bottom = bounds(one)
    x, y, to_x, to_y = bounds(other)
    return right <= x or to_x <= left or bottom <= y or to_y <= top


def laid(checkpoints: int, strengths: int, prompts: int, cell: int) -> Sheet:
    groups = [
        Group(f"a checkpoint with a long name, number {number}", ("0.6", "0.8", "1")[:strengths])
        for number in range(checkpoints)
    ]
    shapes = [(64, 64), (128, 48), (48, 96)]
    rows = [
        Row("words of a prompt " * (1 + 20 * number), "seed 42", shapes[number % 3])
        for number in range(prompts)
    ]
    return lay_out(groups, rows, cell, letters)


@pytest.mark.parametrize("cell", [48, 64, 256, 1024])
@pytest.mark.parametrize(
    ("checkpoints", "strengths", "prompts"), [(1, 1, 1), (4, 3, 6), (12, 1, 2), (1, 3, 12)]
)
def test_nothing_overlaps_and_nothing_leaves_the_sheet(
    checkpoints: int, strengths: int, prompts: int, cell: int
) -> None:
    sheet = laid(checkpoints, strengths, prompts, cell)
    assert len(sheet.cells) == checkpoints * strengths * prompts
    boxes = [*sheet.cells.values()]
    for text in sheet.texts:
        width = round(letters(text.words, text.size))
        left = round(text.x - width / 2) if text.anchor == "ma" else round(text.x)
        boxes.append(Box(left, round(text.y), width, text.size))
    for number, box in enumerate(boxes):
        left, top, right, bottom = bounds(box)
        assert left >= 0 and top >= 0 and right <= sheet.width and bottom <= sheet.height
        assert all(apart(box, other) for other in boxes[:number])


def test_the_longer_side_of_a_picture_is_the_cell_and_its_shape_stays() -> None:
    sheet = laid(1, 1, 3, 256)
    assert [(box.width, box.height) for box in sheet.cells.values()] == [(256, 256), (256, 96), (128, 256)]


def test_a_row_has_one_top_and_a_column_one_left() -> None:
    sheet = lay_out([Group("a", ("1", "2")), Group("b", ("1",))], [Row("p", "s")] * 2, 100, letters)
    assert len({box.top for (row, _), box in sheet.cells.items() if row == 1}) == 1
    assert len({box.left for (_, column), box in sheet.cells.items() if column == 2}) == 1
    lefts = [sheet.cells[0, column].left for column in range(3)]
    assert lefts[2] - lefts[1] > lefts[1] - lefts[0] > 100  # the next checkpoint stands further off


def test_strengths_are_spelled_out_where_all_of_them_fit() -> None:
    def said(cell: int) -> list[str]:
        sheet = lay_out([Group("a", ("0.25", "1"))], [Row("p", "")], cell, letters)
        return [text.words for text in sheet.texts if text.words.endswith(("0.25", "1"))][:2]

    assert said(256) == ["strength 0.25", "strength 1"]
    assert said(64) == ["0.25", "1"]


def test_the_model_alone_has_no_strength() -> None:
    sheet = lay_out([Group("Without LoRA", ("",)), Group("Final", ("1",))], [Row("p", "")], 256, letters)
    assert [text.words for text in sheet.texts if text.words] == [
        "Without LoRA",
        "Final",
        "strength 1",
        "1. p",
    ]


def test_text_is_broken_at_spaces_cut_without_them_and_ends_in_an_ellipsis() -> None:
    assert wrap("one two three", 7, 3, len) == ["one two", "three"]
    assert wrap("one two three four", 7, 2, len) == ["one two", "thre..."]
    assert wrap("characters", 4, 3, len) == ["char", "acte", "rs"]
    assert wrap("a verylongword", 6, 4, len) == ["a", "verylo", "ngword"]
    assert wrap("", 4, 2, len) == []
    assert wrap("one two", 1, 0, len) == []
