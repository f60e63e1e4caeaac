"""Looks at a dataset as closely as training would, decoding every image, and says what it found."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from musabi.dataset.asked import Asked
from musabi.dataset.buckets import buckets
from musabi.dataset.caches import open_memory
from musabi.dataset.captions import NOT_TEXT, Captioned, caption_findings, guessed
from musabi.dataset.config import DatasetConfig, ImageDataset
from musabi.dataset.decoding import Looked, look_at
from musabi.dataset.duplicates import Group, alike, duplicate_findings, same_files
from musabi.dataset.extensions import IMAGE_EXTENSIONS
from musabi.dataset.finding import Finding, count, refuse_errors
from musabi.dataset.findings import scan_findings
from musabi.dataset.formats import format_findings
from musabi.dataset.items import Item, Scan, scan
from musabi.dataset.leftovers import leftover_findings
from musabi.dataset.remembered import NAME, Remembered, seen_now
from musabi.dataset.sniffing import what_it_is
from musabi.job.facts import BucketFacts

Progress = Callable[[int, int], None]
"""Called with the number of images looked at so far and of all images."""
LEVELS = ("error", "warning", "note")
NOTHING = Asked()
"""No wishes besides what the dataset TOML says."""


@dataclass(frozen=True)
class Report:
    """What a check found. `steps_per_epoch` counts batches, which is optimizer steps on one GPU.

    `images` counts those that will be trained on, `rotated` lists those that an EXIF tag turns. `same` are
    groups of files that are equal to the byte, `alike` of pictures that look the same. `seen` is what
    decoding found, by image, and `asked` what was looked for.
    """

    config: Path
    findings: tuple[Finding, ...]
    images: int
    buckets: tuple[BucketFacts, ...]
    steps_per_epoch: int
    rotated: tuple[Path, ...]
    asked: Asked = NOTHING
    same: tuple[Group, ...] = ()
    alike: tuple[Group, ...] = ()
    scans: tuple[Scan, ...] = ()
    seen: Mapping[Path, Looked] = field(default_factory=dict)

    @property
    def trainable(self) -> bool:
        return not any(finding.level == "error" for finding in self.findings)

    @property
    def trained_on(self) -> str:
        """How many images and videos will be trained on, in words."""
        media = Counter(item.medium for each in self.scans for item in each.items)
        counts = [count(number, medium) for medium, number in sorted(media.items())]
        return " and ".join(counts) or "no images"

    @property
    def left_out(self) -> int:
        """How many images and videos were looked at that will not be trained on."""
        return sum(each.named - len(each.items) for each in self.scans)

    @property
    def epochs(self) -> int | None:
        """Epochs that come nearest to the target, as a run without MAX_TRAIN_EPOCHS takes them."""
        if self.asked.target_steps is None or not self.steps_per_epoch:
            return None
        return max(1, round(self.asked.target_steps / self.steps_per_epoch))

    def as_json(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        return {
            "config": str(self.config),
            "trainable": self.trainable,
            "model": self.asked.model,
            "images": self.images,
            "left_out": self.left_out,
            "steps_per_epoch": self.steps_per_epoch,
            "target_steps": self.asked.target_steps,
            "epochs": self.epochs,
            "buckets": [asdict(bucket) for bucket in self.buckets],
            "findings": [finding.as_json() for finding in self.findings],
            "rotated": [str(path) for path in self.rotated],
            "same": [[str(path) for path in group] for group in self.same],
            "alike": [[str(path) for path in group] for group in self.alike],
        }


def check(config: DatasetConfig, asked: Asked = NOTHING, progress: Progress | None = None) -> Report:
    """Decode every image of the dataset and return what is wrong, odd or worth knowing.

    Images that did not change since an earlier check are not decoded again.

    Raises:
        RequestError: a JSONL file that can't be read at all.
    """
    scans = tuple(map(_scanned, config.datasets))
    seen = _decoded(scans, progress)
    return _report(config, asked, tuple(_with_outcomes(one, seen) for one in scans), seen)


def check_before_run(
    config: DatasetConfig,
    asked: Asked = NOTHING,
    progress: Progress | None = None,
) -> tuple[Finding, ...]:
    """Check the dataset, refuse what can't be trained on, and return what is to be said all the same.

    Raises:
        RequestError: the errors that were found, one a line.
    """
    report = check(config, asked, progress)
    require_trainable(report)
    return tuple(finding for finding in report.findings if finding.level == "warning")


def require_trainable(report: Report) -> None:
    """Raise a RequestError that says every error of the report, one a line."""
    refuse_errors(report.findings)


def _report(
    config: DatasetConfig, asked: Asked, scans: tuple[Scan, ...], seen: Mapping[Path, Looked]
) -> Report:
    sizes = tuple(bucket for each in scans for bucket in buckets(each.items, each.dataset))
    trained = {item.image: seen[item.image] for each in scans for item in each.items if item.image in seen}
    same, near = same_files(trained), alike(trained)
    findings = [
        *scan_findings(config, scans, asked.allow_missing_captions),
        *(finding for each in scans for finding in _more_findings(each, seen, asked)),
        *duplicate_findings(config.path, same, near),
    ]
    return Report(
        config=config.path,
        findings=tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level))),
        images=sum(len(each.items) for each in scans),
        buckets=sizes,
        steps_per_epoch=sum(bucket.batches for bucket in sizes),
        rotated=tuple(path for each in scans for path in each.rotated),
        asked=asked,
        same=same,
        alike=near,
        scans=scans,
        seen=seen,
    )


def _more_findings(each: Scan, seen: Mapping[Path, Looked], asked: Asked) -> Iterable[Finding]:
    """Yield what shows only in pixels, in captions as text, and in the cache folder."""
    dataset = each.dataset
    pictures = list(dict.fromkeys(picture for item in each.items for picture in _pictures(item)))
    yield from format_findings(dataset.place, pictures, seen, takes_alpha=dataset.multiple_target)
    yield from caption_findings(dataset.place, captions_of(each), dataset.rules, asked)
    yield from leftover_findings(each)


def captions_of(each: Scan) -> list[Captioned]:
    """Return the captions of a dataset's items."""
    return [Captioned(item.caption, item.caption_file or item.image) for item in each.items]


def _decoded(scans: tuple[Scan, ...], progress: Progress | None) -> dict[Path, Looked]:
    """Return what is found in each image; where it stops early, what was learnt is kept all the same."""
    memories = {each.dataset.cache_directory: _memory(each.dataset) for each in scans}
    homes = {
        picture: memories[each.dataset.cache_directory]
        for each in scans
        for item in each.items
        for picture in _pictures(item)
    }
    seen = {image: kept for image, home in homes.items() if (kept := home.recall(image)) is not None}
    stamps = {image: seen_now(image) for image in homes if image not in seen}
    try:
        for image, looked in look_at(stamps):
            seen[image] = looked
            homes[image].learn(image, stamps[image], looked)
            if progress:
                progress(len(seen), len(homes))
    finally:
        for memory in memories.values():
            memory.keep()
    return {image: seen[image] for image in homes}


def _scanned(dataset: ImageDataset) -> Scan:
    """Return the scan; what it learns of videos is kept."""
    memory = open_memory(dataset)
    found = scan(dataset, memory)
    memory.keep()
    return found


def _pictures(item: Item) -> tuple[Path, ...]:
    """Return the files of an item that are pictures; a video's are not decoded."""
    return (item.image, *item.controls, *item.layers) if item.medium == "image" else ()


def _memory(dataset: ImageDataset) -> Remembered:
    return Remembered(dataset.cache_directory / NAME)


def _with_outcomes(scanned: Scan, seen: Mapping[Path, Looked]) -> Scan:
    """Return the scan without the images that fail to decode, which become unreadable."""
    pictures = dict.fromkeys(picture for item in scanned.items for picture in _pictures(item))
    broken = {picture: seen[picture].reason for picture in pictures if seen[picture].reason}
    turned = {picture for picture in pictures if seen[picture].turned} | set(scanned.rotated)
    return replace(
        scanned,
        items=tuple(item for item in scanned.items if not broken.keys() & set(_pictures(item))),
        unreadable=(*map(_in_other_words, scanned.unreadable), *broken.items()),
        rotated=tuple(sorted(turned - broken.keys())),
    )


def _in_other_words(unreadable: tuple[Path, str]) -> tuple[Path, str]:
    """Say more of a file that a scan could not read: in what encoding it is, or what it is instead of an image."""
    file, reason = unreadable
    if reason == NOT_TEXT:
        return file, guessed(file)
    return file, (what_it_is(file) if file.suffix in IMAGE_EXTENSIONS else "") or reason
