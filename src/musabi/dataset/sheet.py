"""`musabi check --html`: one self-contained page with the numbers, the findings and the images of a dataset."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from musabi.dataset.check import Report
from musabi.dataset.duplicates import Group
from musabi.dataset.finding import bucket_name, count
from musabi.dataset.items import Item
from musabi.dataset.marks import Mark, marks
from musabi.dataset.thumbnails import thumbnails
from musabi.errors import RequestError
from musabi.templating import environment
from musabi.whole import write_text

EDGE = 224
"""Pixels of a thumbnail's longer side: sharp at the 160 or so that it is shown at."""
MOST_TILES = 600
MOST_GROUPS = 60
MOST_IN_GROUP = 6


def write_sheet(report: Report, target: Path) -> None:
    """Write the page to `target`. Images with something to say come first; of very many not all are shown.

    Raises:
        RequestError: `target` is a folder.
        OSError: it can't be written.
    """
    require_no_folder(target)
    write_text(target, render(report, time.strftime("%Y-%m-%d %H:%M")))


def require_no_folder(target: Path) -> None:
    """Raise a RequestError where the page's place is a folder."""
    if target.is_dir():
        raise RequestError(f"{target} is a folder. Name a file, such as {target / 'sheet.html'}.")


def render(report: Report, made: str) -> str:
    """Return the page as HTML; `made` is the moment as it is shown."""
    return environment("musabi.dataset", "page").get_template("sheet.html.j2").render(context(report, made))


def context(report: Report, made: str) -> dict[str, Any]:
    """Return everything that the template shows."""
    found = marks(report)
    items = {item.image: item for each in report.scans for item in each.items}
    pictures = sorted(
        dict.fromkeys([*_pictures(report), *found]), key=lambda image: (_rank(found.get(image)), image.name)
    )
    shown, groups = pictures[:MOST_TILES], (report.same + report.alike)[:MOST_GROUPS]
    wanted = [*shown, *(image for group in groups for image in group[:MOST_IN_GROUP])]
    small = thumbnails((image for image in wanted if not _is_video(image, items)), EDGE)
    levels = {
        level: [one for one in report.findings if one.level == level]
        for level in ("error", "warning", "note")
    }
    return {
        "name": _name(report),
        "config": str(report.config),
        "made": made,
        "trainable": report.trainable,
        "headline": _headline(report),
        "facts": _facts(report),
        "levels": [(title, level, levels[level]) for level, title in TITLES.items() if levels[level]],
        "buckets": _buckets(report),
        "groups": [_group(group, small, items, same=group in report.same) for group in groups],
        "more_groups": len(report.same) + len(report.alike) - len(groups),
        "tiles": [_tile(image, small, items, found.get(image, ())) for image in shown],
        "more": len(pictures) - len(shown),
    }


TITLES = {"error": "Stops a training", "warning": "Worth mending", "note": "Worth knowing"}


def _rank(found: tuple[Mark, ...] | None) -> int:
    """Return a number by which images are sorted: those with the worst mark first."""
    return list(TITLES).index(found[0].level) if found else len(TITLES)


def _name(report: Report) -> str:
    folder = report.config.absolute().parent.name
    return f"{folder}/{report.config.name}" if folder else report.config.name


def _headline(report: Report) -> str:
    errors = sum(one.level == "error" for one in report.findings)
    warnings = sum(one.level == "warning" for one in report.findings)
    if errors:
        return f"{count(errors, 'error')} would stop a training."
    return f"Ready to train, with {count(warnings, 'warning')}." if warnings else "Ready to train."


def _facts(report: Report) -> list[tuple[str, str]]:
    sizes = dict.fromkeys(
        f"{each.dataset.resolution[0]} \u00d7 {each.dataset.resolution[1]}" for each in report.scans
    )
    batches = dict.fromkeys(str(each.dataset.batch_size) for each in report.scans)
    rows = [
        *([("Checked for", report.asked.model)] if report.asked.model else []),
        ("Trained on", report.trained_on),
        *([("Left out", f"{report.left_out:,}")] if report.left_out else []),
        ("Resolution", ", ".join(sizes)),
        ("Batch size", ", ".join(batches)),
        ("Steps an epoch", f"{report.steps_per_epoch:,}"),
    ]
    if report.epochs is not None:
        rows.append(
            (
                f"For {report.asked.target_steps:,} steps",
                f"{count(report.epochs, 'epoch')}, {report.epochs * report.steps_per_epoch:,} steps",
            )
        )
    return rows


def _buckets(report: Report) -> list[dict[str, Any]]:
    most = max((bucket.images for bucket in report.buckets), default=1)
    return [
        {
            "name": bucket_name(bucket),
            "images": bucket.images,
            "batches": bucket.batches,
            "batch": bucket.batch,
            "share": max(1, round(100 * bucket.images / most)),
        }
        for bucket in sorted(report.buckets, key=lambda bucket: -bucket.images)
    ]


def _pictures(report: Report) -> Iterator[Path]:
    """Yield every file of the dataset that is or should be a picture, once."""
    seen: dict[Path, None] = {}
    for each in report.scans:
        sources: Sequence[Iterable[Path]] = (
            (item.image for item in each.items),
            each.without_caption,
            (path for path, _ in each.unreadable if path.suffix != each.dataset.caption_extension),
            (path for _, files in each.collisions for path in files),
            (path for path in each.ignored if not path.is_dir()),
        )
        seen |= dict.fromkeys(path for source in sources for path in source)
    return iter(seen)


def _is_video(image: Path, items: Mapping[Path, Item]) -> bool:
    return image in items and items[image].medium == "video"


def _group(
    group: Group, small: Mapping[Path, str], items: Mapping[Path, Item], *, same: bool
) -> dict[str, Any]:
    return {
        "title": "The same file" if same else "Alike",
        "tiles": [_tile(image, small, items, ()) for image in group[:MOST_IN_GROUP]],
        "more": len(group) - len(group[:MOST_IN_GROUP]),
    }


def _tile(
    image: Path, small: Mapping[Path, str], items: Mapping[Path, Item], found: tuple[Mark, ...]
) -> dict[str, Any]:
    item = items.get(image)
    return {
        "name": image.name,
        "uri": small.get(image, ""),
        "size": f"{item.width} \u00d7 {item.height}" if item else "",
        "bucket": f"{item.bucket[0]} \u00d7 {item.bucket[1]}" if item else "",
        "clips": f"{item.frames} frames, {count(len(item.clips), 'clip')}"
        if item and item.medium == "video"
        else "",
        "caption": item.caption if item else "",
        "marks": [{"words": mark.words, "level": mark.level} for mark in found],
    }
