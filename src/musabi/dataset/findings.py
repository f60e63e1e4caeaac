"""What is wrong or odd in a dataset, as findings, each a plain sentence with its mend."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from musabi.dataset.buckets import STEP, buckets
from musabi.dataset.config import DatasetConfig
from musabi.dataset.items import Item, Scan
from musabi.errors import RequestError

Level = Literal["error", "warning", "note"]
NAMED = 10
"""How many names a message lists before it says how many more there are."""
UPSCALE_LIMIT = 2.0
"""Enlarging an image by more than this blurs what is learnt from it."""


@dataclass(frozen=True)
class Finding:
    """One thing about the dataset. `path` is the file or folder that it is about, or the config."""

    level: Level
    message: str
    path: Path

    def as_json(self) -> dict[str, str]:
        return {**asdict(self), "path": str(self.path)}


def names(paths: Iterable[Path]) -> str:
    """Return the file names, ten at most, then how many more there are."""
    listed = [path.name for path in paths]
    more = len(listed) - NAMED
    return ", ".join(listed[:NAMED]) + (f" and {more} more" if more > 0 else "")


def count(number: int, one: str, many: str = "") -> str:
    """Return "1 image" or "3 images"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def refuse_errors(findings: Sequence[Finding]) -> None:
    """Raise a RequestError that says the errors among the findings, one a line, ten at most."""
    errors = [finding.message for finding in findings if finding.level == "error"]
    more = len(errors) - NAMED
    if more > 0:
        errors[NAMED:] = [f"And {count(more, 'more fault')}: musabi check lists them all."]
    if errors:
        raise RequestError("\n".join(errors))


def scan_findings(
    config: DatasetConfig, scans: Iterable[Scan], allow_missing_captions: bool = False
) -> tuple[Finding, ...]:
    """Return what the scans show, dataset by dataset, errors first."""
    found = [
        finding
        for scan in scans
        for finding in (*_errors(config, scan, allow_missing_captions), *_warnings(scan))
    ]
    order = ("error", "warning", "note")
    return tuple(sorted(found, key=lambda finding: order.index(finding.level)))


def _errors(config: DatasetConfig, scan: Scan, allow_missing_captions: bool) -> Iterable[Finding]:
    folder = scan.dataset.jsonl or scan.dataset.image_directory
    bare = scan.without_caption
    if bare:
        extension = scan.dataset.caption_extension
        told = f"{count(len(bare), 'image')} in {folder} without a {extension} caption file: {names(bare)}."
        if allow_missing_captions:
            yield Finding("warning", f"{told} They are not trained on.", folder)
        else:
            yield Finding(
                "error",
                f"{told} Write the captions, or pass --allow-missing-captions to train without these images.",
                folder,
            )
    if not scan.items and not scan.unreadable and (allow_missing_captions or not bare):
        yield Finding(
            "error", f"There are no images to train on in {folder}.{_where_they_may_be(scan)}", folder
        )
    for path, reason in scan.unreadable:
        yield Finding("error", f"{path} {reason}. Replace it or remove it.", path)
    for key, files in scan.collisions:
        where = sorted({str(file.parent) for file in files})
        yield Finding(
            "error",
            f'{names(files)} in {" and ".join(where)} share the name "{key}", and the trainer would '
            "keep only one of them. Rename the others, with their captions.",
            files[0],
        )
    for item in scan.items:
        if min(item.bucket) < STEP:
            yield Finding(
                "error",
                f"{item.image} has {item.width}x{item.height} pixels, too few for a side of {STEP}. Remove "
                f"it, or set bucket_no_upscale = false in {config.path}.",
                item.image,
            )


def _where_they_may_be(scan: Scan) -> str:
    folders = [path for path in scan.ignored if path.is_dir()]
    if folders:
        return f" The trainer does not look into its subfolders ({names(folders)}). Move the images up."
    if scan.ignored:
        return f" The trainer does not take {names(scan.ignored)}. Save them as PNG or JPEG."
    extension = scan.dataset.caption_extension
    return (
        f" Put PNG, JPEG or WebP images there, each with a caption file such as photo{extension or '.txt'}."
    )


def _warnings(scan: Scan) -> Iterable[Finding]:
    folder = scan.dataset.jsonl or scan.dataset.image_directory
    if scan.rotated:
        yield Finding(
            "warning",
            f"{count(len(scan.rotated), 'image')} in {folder} stored turned or mirrored, and the trainer "
            f"ignores the EXIF tag that sets it right: {names(scan.rotated)}. "
            "Run musabi check --fix to store upright images.",
            folder,
        )
    if scan.empty_caption:
        yield Finding(
            "warning",
            f"{count(len(scan.empty_caption), 'empty caption')} in {folder}: {names(scan.empty_caption)}. "
            "Write what the image shows.",
            folder,
        )
    yield from _ignored(scan)
    yield from _item_warnings(scan.items, folder)
    yield from _bucket_warnings(scan, folder)
    captions = Counter(item.caption for item in scan.items)
    if len(scan.items) > 1 and len(captions) == 1:
        yield Finding(
            "warning",
            f"All {len(scan.items)} captions in {folder} are the same. "
            "Say in each what sets its image apart.",
            folder,
        )


def _ignored(scan: Scan) -> Iterable[Finding]:
    if not scan.items:
        return
    folder = scan.dataset.image_directory
    files = [path for path in scan.ignored if not path.is_dir()]
    folders = [path for path in scan.ignored if path.is_dir()]
    if files:
        yield Finding(
            "warning",
            f"The trainer passes over {count(len(files), 'file')} in {folder}: {names(files)}. It takes "
            ".png .jpg .jpeg .webp .bmp and .avif, in lower or upper case throughout.",
            folder,
        )
    if folders:
        yield Finding(
            "note", f"The trainer does not look into the subfolders of {folder}: {names(folders)}.", folder
        )


def _item_warnings(items: Iterable[Item], folder: Path) -> Iterable[Finding]:
    small = [item for item in items if _enlargement(item) > UPSCALE_LIMIT]
    if small:
        worst = max(small, key=_enlargement)
        yield Finding(
            "warning",
            f"{count(len(small), 'small image')} in {folder} enlarged more than {UPSCALE_LIMIT:g} times: "
            f"{names(item.image for item in small)}. The worst, {worst.image.name}, has "
            f"{worst.width}x{worst.height} pixels and is enlarged {_enlargement(worst):.1f} times: "
            "take larger ones, or set bucket_no_upscale = true.",
            folder,
        )
    marked = [item.caption_file or item.image for item in items if item.caption.startswith("\ufeff")]
    if marked:
        yield Finding(
            "warning",
            f"{count(len(marked), 'caption')} in {folder} with a byte-order mark, which is trained as text: "
            f'{names(marked)}. Save them as UTF-8 "without BOM".',
            folder,
        )


def _enlargement(item: Item) -> float:
    return max(item.bucket[0] / item.width, item.bucket[1] / item.height)


def _bucket_warnings(scan: Scan, folder: Path) -> Iterable[Finding]:
    size, repeats = scan.dataset.batch_size, scan.dataset.num_repeats
    small = [bucket for bucket in buckets(scan.items, scan.dataset) if bucket.images * repeats < size]
    if small:
        sizes = ", ".join(
            f"{bucket.width}x{bucket.height} ({count(bucket.images, 'image')})" for bucket in small
        )
        yield Finding(
            "warning",
            f"In {folder} fewer images than the batch size of {size} fall into {sizes}, so these "
            "batches are smaller. Crop the images to fewer shapes, or lower batch_size.",
            folder,
        )
