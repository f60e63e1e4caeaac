"""The chart of the buckets: the fullest first, drawn without a width of its own, read out as a table."""

import itertools
import re
from html.parser import HTMLParser

from musabi.watch.page.dataset_buckets import MOST_BARS, chart
from musabi.watch.page.html import render


def bucket(width: int, height: int, images: int, **more: int) -> dict[str, int]:
    return {"width": width, "height": height, "images": images, "batches": images, "batch": 1} | more


class Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_fullest_bucket_is_the_longest_and_first() -> None:
    drawn = chart([bucket(512, 1024, 5), bucket(1024, 1024, 20), bucket(1024, 512, 10)])
    assert [(row["name"], row["width"]) for row in drawn["bars"]] == [
        ("1024 \u00d7 1024", "100.0%"),
        ("1024 \u00d7 512", "50.0%"),
        ("512 \u00d7 1024", "25.0%"),
    ]
    assert drawn["total"] == 35


def test_a_single_image_among_others_is_marked_and_clips_say_their_frames() -> None:
    drawn = chart([bucket(512, 512, 1, frames=25), bucket(640, 640, 900, batches=225, batch=4)])
    assert [row["small"] for row in drawn["rows"]] == [False, True]
    assert drawn["rows"][1]["name"] == "512 \u00d7 512, 25 frames"
    assert (drawn["rows"][0]["words"], drawn["rows"][1]["words"]) == ("900 images", "1 clip")


def test_no_bar_is_lost_to_the_eye_and_rows_do_not_lie_over_one_another() -> None:
    drawn = chart([bucket(16 * n, 512, n * n * n) for n in range(1, 60)])
    assert all(float(row["width"].rstrip("%")) >= 0.8 for row in drawn["rows"])
    tops = [row["text_at"] for row in drawn["bars"]]
    assert len(tops) == MOST_BARS and drawn["more"] == 59 - MOST_BARS
    assert {after - before for before, after in itertools.pairwise(tops)} == {38}
    assert drawn["height"] >= drawn["bars"][-1]["bar_at"] + drawn["thick"]


def test_the_picture_fits_any_width_and_the_table_says_the_same() -> None:
    html = render("dataset_buckets", chart([bucket(1024, 1024, 20), bucket(512, 1024, 1)]))
    elements = Elements(html).found
    svg = next(attributes for tag, attributes in elements if tag == "svg")
    assert (svg["width"], svg.get("viewbox"), svg["aria-hidden"]) == ("100%", None, "true")
    assert not [attributes for _, attributes in elements if "style" in attributes]
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', html)
    assert rows == [("1024 \u00d7 1024", "20"), ("512 \u00d7 1024", "1")]
    assert "1 bucket has a single image" in html
