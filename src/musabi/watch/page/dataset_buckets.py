"""The buckets of a dataset as a bar chart, drawn by the server, and as a table for those who hear it."""

from collections.abc import Mapping, Sequence
from typing import Any

from musabi.watch.page.dataset_check import checker
from musabi.watch.page.html import render
from musabi.watch.page.scene import Scene
from musabi.watch.page.view import Query

MOST_BARS = 24
ROW = 38
"""Pixels of a bar with the line above it: the widths are shares, so that it is read on a phone as on a desk."""
LINE, BAR, THICK = 15, 21, 9
"""Pixels from a row's top to its text's foot and to its bar, and the bar's height."""


def part(scene: Scene, _query: Query) -> str:
    """Return the chart, "" where there is no dataset."""
    found = checker(scene).newest().report.get("buckets") or []
    return render("dataset_buckets", chart(found)) if found else ""


def chart(buckets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the template draws: a row a bucket, the fullest first."""
    ordered = sorted(buckets, key=lambda one: (-one["images"], one["width"] / max(1, one["height"])))
    most = max((one["images"] for one in ordered), default=1)
    rows = [_row(one, number, most) for number, one in enumerate(ordered)]
    return {
        "rows": rows,
        "bars": rows[:MOST_BARS],
        "more": max(0, len(rows) - MOST_BARS),
        "height": min(len(rows), MOST_BARS) * ROW,
        "thick": THICK,
        "small": sum(row["small"] for row in rows),
        "total": sum(one["images"] for one in ordered),
    }


def _row(bucket: Mapping[str, Any], number: int, most: int) -> dict[str, Any]:
    images, batches, frames = bucket["images"], bucket["batches"], bucket.get("frames", 1)
    noun = "image" if frames == 1 else "clip"
    return {
        "name": f"{bucket['width']} \u00d7 {bucket['height']}" + (f", {frames} frames" if frames > 1 else ""),
        "images": images,
        "batches": batches,
        "batch": bucket.get("batch", 1),
        "words": f"{images:,} {noun}{'' if images == 1 else 's'}",
        "small": images == 1 and most > 1,
        "width": f"{max(0.8, 100 * images / most):.1f}%",
        "text_at": number * ROW + LINE,
        "bar_at": number * ROW + BAR,
    }
