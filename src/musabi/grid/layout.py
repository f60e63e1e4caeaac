"""Where everything in a grid stands: pure, in pixels. What is drawn there is another module's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Measure = Callable[[str, int], float]
"""The width in pixels of a line of text in a font of that size in pixels."""

GAP = 6
GROUP_GAP = 20
MARGIN = 12
DARK, PALE, RULE = "#1a1a1a", "#6b6b6b", "#b0b0b0"


@dataclass(frozen=True)
class Group:
    """A checkpoint over its columns; `strengths` has a label a column, "" for the model alone."""

    label: str
    strengths: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A prompt: its text, what stands under it in pale letters, and width and height of its pictures."""

    text: str
    detail: str
    shape: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Text:
    """A line of text; `anchor` is Pillow's: la is left and top, ma middle and top."""

    x: float
    y: float
    words: str
    size: int
    anchor: str = "la"
    color: str = DARK


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Sheet:
    """A laid-out grid. `cells` is by (row, column), `rules` are thin lines under the checkpoints' labels."""

    width: int
    height: int
    font: int
    cells: dict[tuple[int, int], Box] = field(default_factory=dict)
    texts: tuple[Text, ...] = ()
    rules: tuple[Box, ...] = ()


def lay_out(groups: Sequence[Group], rows: Sequence[Row], cell: int, measure: Measure) -> Sheet:
    """Return the sheet. The longer side of every picture is `cell` pixels; text grows with it."""
    font = max(13, cell // 13)
    line = round(font * 1.35)
    shapes = [_scaled(row.shape, cell) for row in rows]
    wide = max((width for width, _ in shapes), default=cell)
    tall = [max(height, 3 * line) for _, height in shapes]
    label = max(150, min(cell, 400))
    lefts, spans = _across(groups, MARGIN + label + 2 * GAP, wide)
    heads, lowest = _heads(groups, spans, font, measure)
    top = MARGIN + lowest * line + GAP
    under = [
        Text(left + wide / 2, top, words, font, "ma", PALE)
        for left, words in zip(lefts, _strengths(groups, wide, font, measure), strict=True)
    ]
    rules = tuple(Box(left, top - GAP // 2, right - left, 1) for left, right in spans)
    top += line + GAP
    cells: dict[tuple[int, int], Box] = {}
    beside: list[Text] = []
    for number, (row, (width, height), high) in enumerate(zip(rows, shapes, tall, strict=True)):
        for column, left in enumerate(lefts):
            cells[number, column] = Box(left + (wide - width) // 2, top + (high - height) // 2, width, height)
        beside += _beside(row, number, top, high, label, font, measure)
        top += high + GAP
    right = (lefts[-1] + wide if lefts else MARGIN + label) + MARGIN
    return Sheet(right, top + MARGIN - GAP, font, cells, (*heads, *under, *beside), rules)


def wrap(text: str, width: float, lines: int, measure: Callable[[str], float]) -> list[str]:
    """Break text into at most `lines` lines no wider than `width`; what is left out is an ellipsis.

    A word wider than a line is cut, as is text without spaces (Chinese, file names).
    """
    made: list[str] = []
    rest = " ".join(text.split())
    while rest and len(made) < lines:
        if measure(rest) <= width:
            return [*made, rest]
        if len(made) == lines - 1:
            return [*made, rest[: _fitting(rest, width, measure, "...")].rstrip() + "..."]
        end = _fitting(rest, width, measure)
        space = rest.rfind(" ", 0, end + 1)
        end = space if space > 0 else max(1, end)
        made.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return made


def _fitting(text: str, width: float, measure: Callable[[str], float], ending: str = "") -> int:
    """Return how many characters from the start are no wider than `width` with the ending behind them."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if measure(text[:middle].rstrip() + ending) <= width:
            low = middle
        else:
            high = middle - 1
    return low


def _scaled(shape: tuple[int, int], cell: int) -> tuple[int, int]:
    longer = max(shape)
    return max(1, round(shape[0] * cell / longer)), max(1, round(shape[1] * cell / longer))


def _across(groups: Sequence[Group], left: int, wide: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the left edge of every column, and left and right edge of every group."""
    lefts: list[int] = []
    spans: list[tuple[int, int]] = []
    for group in groups:
        first = left
        for _ in group.strengths:
            lefts.append(left)
            left += wide + GAP
        spans.append((first, left - GAP))
        left += GROUP_GAP - GAP
    return lefts, spans


def _heads(
    groups: Sequence[Group], spans: Sequence[tuple[int, int]], font: int, measure: Measure
) -> tuple[list[Text], int]:
    """Return the checkpoints' labels, standing on one base line, and how many lines the longest takes."""
    broken = [
        wrap(group.label, right - left, 3, lambda words: measure(words, font))
        for group, (left, right) in zip(groups, spans, strict=True)
    ]
    most = max((len(lines) for lines in broken), default=1)
    line = round(font * 1.35)
    texts = [
        Text((left + right) / 2, MARGIN + (most - len(lines) + number) * line, words, font, "ma")
        for lines, (left, right) in zip(broken, spans, strict=True)
        for number, words in enumerate(lines)
    ]
    return texts, most


def _strengths(groups: Sequence[Group], wide: int, font: int, measure: Measure) -> list[str]:
    """Return the labels of all columns, spelled out where there is room for every one."""
    short = [strength for group in groups for strength in group.strengths]
    full = [f"strength {strength}" if strength else "" for strength in short]
    return full if all(measure(words, font) <= wide for words in full) else short


def _beside(
    row: Row, number: int, top: int, high: int, label: int, font: int, measure: Measure
) -> list[Text]:
    """Return a row's number and text, as much as fits beside it, and its details under that."""
    line = round(font * 1.35)
    small = max(12, round(font * 0.85))
    words = wrap(f"{number + 1}. {row.text}", label, high // line - 1, lambda text: measure(text, font))
    details = wrap(row.detail, label, 1, lambda text: measure(text, small))
    texts = [Text(MARGIN, top + at * line, text, font) for at, text in enumerate(words)]
    return texts + [Text(MARGIN, top + len(words) * line + 2, text, small, color=PALE) for text in details]
