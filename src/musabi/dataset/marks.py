"""What stands on each image of the sheet: a few words for everything that was found in it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from musabi.dataset.asked import Asked
from musabi.dataset.captions import faults
from musabi.dataset.check import Report, captions_of
from musabi.dataset.extensions import IMAGE_EXTENSIONS
from musabi.dataset.finding import Level
from musabi.dataset.findings import UPSCALE_LIMIT
from musabi.dataset.formats import oddities
from musabi.dataset.items import Scan

Marked = tuple[Path, "Mark"]


@dataclass(frozen=True)
class Mark:
    """A few words on an image, and how bad it is."""

    words: str
    level: Level


def marks(report: Report) -> Mapping[Path, tuple[Mark, ...]]:
    """Return the marks of each image that has any, worst first."""
    found: dict[Path, dict[Mark, None]] = {}
    for image, mark in _all(report):
        found.setdefault(image, {})[mark] = None
    order: tuple[Level, ...] = ("error", "warning", "note")
    return {
        image: tuple(sorted(each, key=lambda mark: order.index(mark.level))) for image, each in found.items()
    }


def _all(report: Report) -> Iterator[Marked]:
    for scan in report.scans:
        yield from _of_scan(scan, report)
        yield from _of_captions(scan, report.asked)
    for words, groups in (("the same file twice", report.same), ("looks alike", report.alike)):
        for group in groups:
            for image in group:
                yield image, Mark(words, "warning" if groups is report.same else "note")


def _of_scan(scan: Scan, report: Report) -> Iterator[Marked]:
    bare: Level = "warning" if report.asked.allow_missing_captions else "error"
    rows: Iterable[tuple[Iterable[Path], Mark]] = (
        (scan.without_caption, Mark("no caption", bare)),
        ((path for path in scan.ignored if not path.is_dir()), Mark("passed over", "warning")),
        ((path for _, files in scan.collisions for path in files), Mark("shares its name", "error")),
        (scan.rotated, Mark("stored turned", "warning")),
    )
    for images, mark in rows:
        for image in images:
            yield image, mark
    for path, reason in (*scan.unreadable, *scan.faults):
        yield _pictured(path, scan), Mark(reason, "error")
    for item in scan.items:
        if not item.caption:
            yield item.image, Mark("empty caption", "warning")
        if item.image in report.seen:
            for odd in oddities(report.seen[item.image], takes_alpha=scan.dataset.multiple_target):
                yield item.image, Mark(odd.mark, odd.level)
        if max(item.bucket[0] / item.width, item.bucket[1] / item.height) > UPSCALE_LIMIT:
            yield item.image, Mark("small", "warning")


def _pictured(path: Path, scan: Scan) -> Path:
    """Return the image that a caption file belongs to, or the file itself."""
    if path.suffix != scan.dataset.caption_extension:
        return path
    others = (path.with_suffix(ending) for ending in sorted(IMAGE_EXTENSIONS))
    return next((image for image in others if image.is_file()), path)


def _of_captions(scan: Scan, asked: Asked) -> Iterator[Marked]:
    captions = captions_of(scan)
    rows = faults(captions, scan.dataset.rules, asked)
    for item, caption in zip(scan.items, captions, strict=True):
        for fault in rows if caption.text else ():
            if fault.holds(caption):
                yield item.image, Mark(fault.mark, fault.level)
