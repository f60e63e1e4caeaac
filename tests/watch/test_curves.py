import math
import re
import xml.etree.ElementTree as ET

import pytest

from musabi.watch.curves import Line, draw, tick_labels, ticks

SVG = "{http://www.w3.org/2000/svg}"
FALLING = [(float(step), 1 / step) for step in range(1, 101)]


def chart(*lines: Line, **more: int) -> ET.Element:
    text = draw("Loss", "how it went", lines, ident="x", x_label="step", **more)
    return ET.fromstring(text)  # noqa: S314 - our own text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0.31, 0.54, [0.35, 0.4, 0.45, 0.5]),
        (0, 3.1e-4, [0, 1e-4, 2e-4, 3e-4]),
        (7, 7, [7]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high, 5) == pytest.approx(expected)


def test_tick_labels_show_as_many_decimals_as_they_differ_by() -> None:
    assert tick_labels([0.35, 0.4, 0.45]) == ["0.35", "0.40", "0.45"]
    assert tick_labels([0, 500, 1000]) == ["0", "500", "1,000"]
    assert tick_labels([1e-6, 2e-6]) == ["1e-6", "2e-6"]


def test_a_chart_can_be_read_aloud() -> None:
    svg = chart(Line("a", FALLING))
    assert svg.get("role") == "img"
    assert svg.findtext(f"{SVG}title") == "Loss"
    assert svg.findtext(f"{SVG}desc") == "how it went"
    ids = {svg.find(f"{SVG}title").get("id"), svg.find(f"{SVG}desc").get("id")}  # type: ignore[union-attr]
    assert set(str(svg.get("aria-labelledby")).split()) == ids


def test_colours_come_from_the_page() -> None:
    text = draw("t", "d", [Line("a", FALLING, colour=2)], ident="x", x_label="step")
    assert "var(--curve-2," in text
    assert not re.search(r'(?:fill|stroke)="#', text)


def test_a_curve_falls_on_the_picture_as_its_values_do() -> None:
    path = chart(Line("a", [(0.0, 1.0), (10.0, 0.0)])).find(f"{SVG}path")
    assert path is not None
    (x0, y0), (x1, y1) = re.findall(r"([\d.]+) ([\d.]+)", str(path.get("d")))
    assert float(x0) < float(x1)
    assert float(y0) < float(y1)  # y grows downwards


def test_everything_stays_inside_the_picture_even_with_an_outlier() -> None:
    points = [(float(step), 0.5 + 0.01 * (step % 7)) for step in range(1, 1001)]
    points[300] = (301.0, 1e6)
    dots = [(step, 0.5) for step, _ in points[::100]]
    svg = chart(Line("raw", points, "faint"), Line("dots", dots, "dots"), width=440, height=300)
    for path in svg.findall(f"{SVG}path"):
        for x, y in re.findall(r"([-\d.]+) ([-\d.]+)", str(path.get("d"))):
            assert 0 <= float(x) <= 440
            assert 0 <= float(y) <= 300
    labels = [text.text or "" for text in svg.findall(f"{SVG}text")]
    assert "0.52" in labels


def test_a_long_run_is_drawn_with_few_points() -> None:
    points = [(float(step), math.sin(step)) for step in range(100_000)]
    assert len(draw("t", "d", [Line("a", points)], ident="x", x_label="step")) < 30_000


def test_names_are_escaped() -> None:
    hostile = '</svg><script>alert("1")</script>'
    text = draw(hostile, hostile, [Line(hostile, FALLING)], ident='x"', x_label=hostile)
    assert "<script" not in text
    ET.fromstring(text)  # noqa: S314 - our own text


def test_one_point_is_a_dot_and_none_is_said() -> None:
    assert chart(Line("a", [(1.0, 0.5)])).findall(f"{SVG}circle")
    nothing = chart(Line("a", [(1.0, math.nan)]))
    assert [text.text for text in nothing.findall(f"{SVG}text")] == ["Nothing to draw."]


def test_legend_entries_that_do_not_fit_go_to_the_next_row() -> None:
    lines = [Line("a long name for a curve " * 2, FALLING) for _ in range(3)]
    heights = {
        text.get("y") for text in chart(*lines, width=440).findall(f"{SVG}text") if "long" in str(text.text)
    }
    assert len(heights) == 3
