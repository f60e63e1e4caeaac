"""Looks at a dataset as closely as training would, decoding every image, and says what it found."""

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from musabi.dataset.buckets import buckets
from musabi.dataset.config import DatasetConfig
from musabi.dataset.findings import Finding, refuse_errors, scan_findings
from musabi.dataset.items import ORIENTATION_TAG, ROTATED, Scan, scan, why_unreadable
from musabi.job.facts import BucketFacts

Progress = Callable[[int, int], None]
"""Called with the number of images looked at so far and of all images."""


@dataclass(frozen=True)
class Report:
    """What a check found. `steps_per_epoch` counts batches, which is optimizer steps on one GPU.

    `images` counts those that will be trained on, `rotated` lists those that `fix_rotation` can mend.
    """

    config: Path
    findings: tuple[Finding, ...]
    images: int
    buckets: tuple[BucketFacts, ...]
    steps_per_epoch: int
    rotated: tuple[Path, ...]

    @property
    def trainable(self) -> bool:
        return not any(finding.level == "error" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        return {
            "config": str(self.config),
            "trainable": self.trainable,
            "images": self.images,
            "steps_per_epoch": self.steps_per_epoch,
            "buckets": [asdict(bucket) for bucket in self.buckets],
            "findings": [finding.as_json() for finding in self.findings],
            "rotated": [str(path) for path in self.rotated],
        }


def check(
    config: DatasetConfig, allow_missing_captions: bool = False, progress: Progress | None = None
) -> Report:
    """Decode every image of the dataset and return what is wrong, odd or worth knowing.

    Raises:
        RequestError: a JSONL file that can't be read at all.
    """
    scans = _decoded(tuple(map(scan, config.datasets)), progress)
    sizes = tuple(bucket for each in scans for bucket in buckets(each.items, each.dataset))
    return Report(
        config=config.path,
        findings=scan_findings(config, scans, allow_missing_captions),
        images=sum(len(each.items) for each in scans),
        buckets=sizes,
        steps_per_epoch=sum(bucket.batches for bucket in sizes),
        rotated=tuple(path for each in scans for path in each.rotated),
    )


def require_trainable(report: Report) -> None:
    """Raise a RequestError that says every error of the report, one a line."""
    refuse_errors(report.findings)


def _decoded(scans: tuple[Scan, ...], progress: Progress | None) -> tuple[Scan, ...]:
    """Return the scans without the images that fail to decode, which become unreadable."""
    images = list({item.image: None for scanned in scans for item in scanned.items})
    seen: dict[Path, tuple[str, bool]] = {}
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # Pillow warns of torn EXIF blocks, which no one trains on
        for image, outcome in zip(images, pool.map(_decode, images), strict=True):
            seen[image] = outcome
            if progress:
                progress(len(seen), len(images))
    return tuple(_with_outcomes(scanned, seen) for scanned in scans)


def _with_outcomes(scanned: Scan, seen: dict[Path, tuple[str, bool]]) -> Scan:
    images = [item.image for item in scanned.items]
    broken = {image: seen[image][0] for image in images if seen[image][0]}
    turned = {image for image in images if seen[image][1]} | set(scanned.rotated)
    return replace(
        scanned,
        items=tuple(item for item in scanned.items if item.image not in broken),
        unreadable=(*scanned.unreadable, *broken.items()),
        rotated=tuple(sorted(turned - broken.keys())),
    )


def _decode(image: Path) -> tuple[str, bool]:
    """Return why the image can't be decoded ("" where it can), and whether EXIF turns it."""
    from PIL import Image

    try:
        with Image.open(image) as opened:
            opened.draft(opened.mode, (1, 1))  # JPEG: read every byte but build a small picture only
            opened.load()
            return "", opened.getexif().get(ORIENTATION_TAG) in ROTATED
    except Exception as error:  # Pillow's decoders raise many kinds on broken files
        return why_unreadable(error), False
