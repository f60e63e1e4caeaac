"""Curves as SVG text: values in, a picture out.

Colours are CSS variables with fallbacks (`--curve-1` ... `--curve-3`) and `currentColor`, so the page that
holds the picture decides about light and dark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

from musabi.watch.series import Point, thin

FONT_PX = 13
_COLOURS = {1: "#2f6fb3", 2: "#b3541e", 3: "#3d8255"}
_TOP, _RIGHT, _BOTTOM = 10.0, 14.0, 44.0


@dataclass(frozen=True)
class Line:
    """One series of a chart.

    `kind`: `faint` for raw values (those beyond the chart's frame are drawn on its edge), `strong` for a
    line, `marked` for a line with its points, `dots` for points alone. `colour` is 1, 2 or 3.
    """

    label: str
    points: Sequence[Point]
    kind: Literal["faint", "strong", "marked", "dots"] = "strong"
    colour: int = 1


@dataclass(frozen=True)
class Frame:
    """The part of the plane that is drawn, and where on the picture (pixels) it lies."""

    low_x: float
    high_x: float
    low_y: float
    high_y: float
    left: float
    top: float
    width: float
    height: float

    def place(self, point: Point) -> tuple[float, float]:
        """Return the pixel (x, y) of a point; a value beyond the frame lies on its edge."""
        x = (point[0] - self.low_x) / (self.high_x - self.low_x)
        y = (min(max(point[1], self.low_y), self.high_y) - self.low_y) / (self.high_y - self.low_y)
        return self.left + x * self.width, self.top + (1 - y) * self.height


def draw(
    title: str,
    description: str,
    lines: Sequence[Line],
    *,
    ident: str,
    x_label: str,
    width: int = 1000,
    height: int = 320,
) -> str:
    """Return a chart as an `<svg>` element, `width` x `height` pixels in its own units.

    `ident` starts the ids inside, and must be the chart's own on its page. Lines without finite points are
    left out; without any line the chart says that there is nothing to draw.
    """
    lines = [
        Line(line.label, [p for p in line.points if math.isfinite(p[1])], line.kind, line.colour)
        for line in lines
    ]
    lines = [line for line in lines if line.points]
    legend, legend_height = _legend(lines, width)
    if lines:
        low, high = _value_range(lines)
        y_ticks = ticks(low, high, max(3, height // 60))
        labels = tick_labels(y_ticks)
        left = 14.0 + max(len(label) for label in labels) * FONT_PX * 0.6
        top = _TOP + legend_height
        steps = [point[0] for line in lines for point in (line.points[0], line.points[-1])]
        low_x, high_x = min(steps), max(steps)
        frame = Frame(
            low_x, high_x if high_x > low_x else low_x + 1, low, high, left, top,
            width - left - _RIGHT, height - top - _BOTTOM,
        )  # fmt: skip
        body = (
            legend + _axes(frame, y_ticks, labels, x_label) + "".join(_shape(line, frame) for line in lines)
        )
    else:
        body = _text(width / 2, height / 2, "Nothing to draw.", "middle")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{escape(ident)}-t {escape(ident)}-d" font-size="{FONT_PX}" fill="currentColor">'
        f'<title id="{escape(ident)}-t">{escape(title)}</title>'
        f'<desc id="{escape(ident)}-d">{escape(description)}</desc>{body}</svg>'
    )


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return about `count` round numbers (1, 2 or 5 times a power of ten apart) within [low, high]."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12 - math.floor(math.log10(step))) for index in range(first, last + 1)]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Return the labels of an axis, all with as many decimals as their distance needs."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest and (largest < 1e-3 or largest >= 1e7):
        return [f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e") for value in values]
    distance = min((b - a for a, b in pairwise(values)), default=0.0)
    decimals = max(0, -math.floor(math.log10(distance) + 1e-9)) if distance else (0 if largest >= 10 else 3)
    return [f"{value:,.{decimals}f}" for value in values]


def _value_range(lines: Sequence[Line]) -> tuple[float, float]:
    """Return the y range: raw values without their outermost 1 % on each side, everything else whole."""
    lows, highs = [], []
    for line in lines:
        values = sorted(value for _, value in line.points)
        cut = len(values) // 100 if line.kind == "faint" else 0
        lows.append(values[cut])
        highs.append(values[-1 - cut])
    low, high = min(lows), max(highs)
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (0.0 if low >= 0 > low - pad else low - pad), high + pad


def _legend(lines: Sequence[Line], width: int) -> tuple[str, float]:
    """Return the legend's marks and its height in pixels; entries that don't fit go to the next row."""
    parts, x, row = [], 14.0, 0
    for line in lines:
        wide = 34 + len(line.label) * FONT_PX * 0.56
        if x > 14 and x + wide > width - _RIGHT:
            x, row = 14.0, row + 1
        y = _TOP + 4 + row * 20.0
        if line.kind == "dots":
            parts.append(f'<circle cx="{x + 9:.1f}" cy="{y:.1f}" r="3.5" {_paint("fill", line)}/>')
        else:
            parts.append(
                f'<line x1="{x:.1f}" x2="{x + 18:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
                f'stroke-width="{2 if line.kind == "faint" else 2.5}" {_paint("stroke", line)}/>'
            )
        parts.append(_text(x + 25, y + 4.5, line.label, "start"))
        x += wide + 12
    return "".join(parts), (row + 1) * 20.0 + 8 if lines else 0.0


def _axes(frame: Frame, y_ticks: Sequence[float], y_labels: Sequence[str], x_label: str) -> str:
    parts = []
    for value, label in zip(y_ticks, y_labels, strict=True):
        _, y = frame.place((frame.low_x, value))
        parts.append(
            f'<line x1="{frame.left:.1f}" x2="{frame.left + frame.width:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="currentColor" stroke-opacity="0.14"/>'
        )
        parts.append(_text(frame.left - 8, y + 4.5, label, "end"))
    x_ticks = ticks(frame.low_x, frame.high_x, max(2, int(frame.width // 110)))
    x_ticks = [value for value in x_ticks if value == int(value)]
    bottom = frame.top + frame.height
    for value, label in zip(x_ticks, tick_labels(x_ticks), strict=True):
        x, _ = frame.place((value, frame.low_y))
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:.1f}" y2="{bottom + 5:.1f}" '
            'stroke="currentColor" stroke-opacity="0.4"/>'
        )
        parts.append(_text(x, bottom + 19, label, "middle"))
    parts.append(_text(frame.left + frame.width / 2, bottom + 38, x_label, "middle"))
    return "".join(parts)


def _shape(line: Line, frame: Frame) -> str:
    places = [frame.place(point) for point in thin(line.points, max(200, int(frame.width)))]
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" {_paint("fill", line)}/>' for x, y in places)
    if line.kind == "dots" or len(places) == 1:
        return dots
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    wide = 1 if line.kind == "faint" else 2.2
    return (
        f'<path d="{path}" fill="none" stroke-width="{wide}" stroke-linejoin="round" '
        f"{_paint('stroke', line)}/>{dots if line.kind == 'marked' else ''}"
    )


def _paint(what: str, line: Line) -> str:
    faint = f";{what}-opacity:.42" if line.kind == "faint" else ""
    return f'style="{what}:var(--curve-{line.colour},{_COLOURS[line.colour]}){faint}"'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
