"""What is wrong or odd in a dataset, as findings, each a plain sentence with its mend."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from musabi.dataset.buckets import buckets
from musabi.dataset.captions import NOT_TEXT
from musabi.dataset.config import DatasetConfig
from musabi.dataset.extensions import IMAGE_EXTENSIONS
from musabi.dataset.finding import Finding, Verb, bucket_name, count, names
from musabi.dataset.incoming import CONVERTED_EXTENSIONS
from musabi.dataset.items import Item, Scan
from musabi.dataset.video_findings import video_errors, video_remarks

TAKEN = {
    "image": ".png .jpg .jpeg .webp .bmp and .avif",
    "video": ".mp4 .webm .avi .mkv .mov .flv .wmv .m4v .mpg and .mpeg",
}
CONVERTED = frozenset(extension.lower() for extension in IMAGE_EXTENSIONS) | CONVERTED_EXTENSIONS
"""Endings, in lower case, of files that `musabi check --fix` stores as the trainer takes them."""
UPSCALE_LIMIT = 2.0
"""Enlarging an image by more than this blurs what is learnt from it."""


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
    folder, medium = scan.dataset.place, scan.dataset.medium
    bare = scan.without_caption
    if bare:
        yield _without_caption(scan, allow_missing_captions)
    if not scan.items and not scan.unreadable and (allow_missing_captions or not bare):
        yield Finding(
            "error",
            f"There are no {medium}s to train on in {folder}.{_where_they_may_be(scan)}",
            folder,
            "musabi check --fix" if _converted(scan) else "",
        )
    yield from _unreadable(scan)
    yield from control_faults(scan)
    for key, files in scan.collisions:
        where = sorted({str(file.parent) for file in files})
        yield Finding(
            "error",
            f'{names(files)} in {" and ".join(where)} share the name "{key}", and the trainer would '
            "keep only one of them. Rename the others, with their captions.",
            files[0],
            _fixed_by_copying(scan),
        )
    step = scan.dataset.bucket_step
    for item in scan.items:
        if min(item.bucket) < step:
            yield Finding(
                "error",
                f"{item.image} has {item.width}x{item.height} pixels, too few for a side of {step}. Remove "
                f"it, or set bucket_no_upscale = false in {config.path}.",
                item.image,
            )
    yield from video_errors(scan)


def _unreadable(scan: Scan) -> Iterable[Finding]:
    for path, reason in scan.unreadable:
        if not reason.startswith(NOT_TEXT):
            yield Finding(
                "error", f"{path} {reason}. Replace it or remove it.", path, _fixed_by_copying(scan)
            )
        elif scan.dataset.medium == "video":
            yield Finding("error", f"{path} {reason}. Save it as UTF-8.", path)
        else:
            mend = "Save it as UTF-8, or run musabi check --fix for a copy that is."
            yield Finding("error", f"{path} {reason}. {mend}", path, "musabi check --fix")


def _fixed_by_copying(scan: Scan) -> Verb:
    """Return the verb whose copy leaves broken pictures out and renames others; paired ones need a person."""
    dataset = scan.dataset
    paired = dataset.control.directory is not None or dataset.multiple_target
    return "" if paired or dataset.medium == "video" else "musabi check --fix"


def _without_caption(scan: Scan, allowed: bool) -> Finding:
    bare, folder, medium = scan.without_caption, scan.dataset.place, scan.dataset.medium
    extension = scan.dataset.caption_extension
    told = f"{count(len(bare), medium)} in {folder} without a {extension} caption file: {names(bare)}."
    write = "Write the captions, by hand or with musabi caption"
    if medium == "video":
        mend = f"The trainer stops at a video without one. {write}, or move these videos away."
        return Finding("error", f"{told} {mend}", folder, "musabi caption")
    if allowed:
        return Finding("warning", f"{told} They are not trained on.", folder)
    mend = f"{write}, or pass --allow-missing-captions to train without these images."
    return Finding("error", f"{told} {mend}", folder, "musabi caption")


def control_faults(scan: Scan) -> Iterable[Finding]:
    """Return what is wrong with control images and layers."""
    for path, fault in scan.faults:
        where = scan.dataset.control.directory
        mend = f"Look into {where}" if where else "Correct the names"
        yield Finding("error", f"{path} {fault}. {mend}, or remove {path.name}.", path)


def _where_they_may_be(scan: Scan) -> str:
    medium, video = scan.dataset.medium, scan.dataset.medium == "video"
    folders = [path for path in scan.ignored if path.is_dir()]
    if folders:
        return f" The trainer does not look into its subfolders ({names(folders)}). Move the {medium}s up."
    if scan.ignored:
        kept = "MP4, with a name that ends in .mp4" if video else "PNG or JPEG"
        fix = ", or run musabi check --fix for a copy that has them so" if _converted(scan) else ""
        return f" The trainer does not take {names(scan.ignored)}. Save them as {kept}{fix}."
    extension = scan.dataset.caption_extension
    if video:
        return f" Put MP4 or WebM videos there, each with a caption file such as clip{extension or '.txt'}."
    return (
        f" Put PNG, JPEG or WebP images there, each with a caption file such as photo{extension or '.txt'}."
    )


def _warnings(scan: Scan) -> Iterable[Finding]:
    folder = scan.dataset.place
    if scan.rotated:
        yield Finding(
            "warning",
            f"{count(len(scan.rotated), 'image')} in {folder} stored turned or mirrored, and the trainer "
            f"ignores the EXIF tag that sets it right: {names(scan.rotated)}. "
            "Run musabi check --fix to store upright images.",
            folder,
            "musabi check --fix",
        )
    if scan.empty_caption:
        yield Finding(
            "warning",
            f"{count(len(scan.empty_caption), 'empty caption')} in {folder}: {names(scan.empty_caption)}. "
            "Write what the image shows.",
            folder,
        )
    yield from _ignored(scan)
    yield from _item_warnings(scan, folder)
    yield from _bucket_warnings(scan, folder)
    yield from video_remarks(scan)
    yield from _strangers(scan)
    yield from _orphans(scan)
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
        converted = _converted(scan)
        them = "them" if converted == files else names(converted)
        mend = f" musabi check --fix makes a copy that has {them} converted." if converted else ""
        yield Finding(
            "warning",
            f"The trainer passes over {count(len(files), 'file')} in {folder}: {names(files)}. It takes "
            f"{TAKEN[scan.dataset.medium]}, in lower or upper case throughout.{mend}",
            folder,
            "musabi check --fix" if converted else "",
        )
    if folders:
        yield Finding(
            "note", f"The trainer does not look into the subfolders of {folder}: {names(folders)}.", folder
        )


def _converted(scan: Scan) -> list[Path]:
    """Return the files that the trainer passes over and `musabi check --fix` stores as it takes them."""
    if scan.dataset.medium == "video":
        return []
    return [path for path in scan.ignored if path.suffix.lower() in CONVERTED and not path.is_dir()]


def _strangers(scan: Scan) -> Iterable[Finding]:
    folder = scan.dataset.cache_directory
    if scan.strangers:
        yield Finding(
            "note",
            f"{count(len(scan.strangers), 'cache file')} of other models in {folder}: "
            f"{names(scan.strangers)}. They are not used and may be removed.",
            folder,
        )


def _orphans(scan: Scan) -> Iterable[Finding]:
    folder, medium = scan.dataset.place, "picture" if scan.dataset.medium == "image" else "video"
    if len(scan.orphans) == 1:
        yield Finding("note", f"{scan.orphans[0]} has no {medium} of its name.", scan.orphans[0])
    elif scan.orphans:
        files = count(len(scan.orphans), "caption file")
        yield Finding(
            "note", f"{files} in {folder} without a {medium} of their name: {names(scan.orphans)}.", folder
        )


def _item_warnings(scan: Scan, folder: Path) -> Iterable[Finding]:
    items, medium = scan.items, scan.dataset.medium
    small = [item for item in items if _enlargement(item) > UPSCALE_LIMIT]
    if small:
        worst = max(small, key=_enlargement)
        mend = "take larger ones" + (", or set bucket_no_upscale = true" if medium == "image" else "")
        yield Finding(
            "warning",
            f"{count(len(small), f'small {medium}')} in {folder} enlarged more than {UPSCALE_LIMIT:g} times: "
            f"{names(item.image for item in small)}. The worst, {worst.image.name}, has "
            f"{worst.width}x{worst.height} pixels and is enlarged {_enlargement(worst):.1f} times: "
            f"{mend}.",
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
    one = "image" if scan.dataset.medium == "image" else "clip"
    small = [bucket for bucket in buckets(scan.items, scan.dataset) if bucket.images * repeats < size]
    if small:
        sizes = ", ".join(f"{bucket_name(bucket)} ({count(bucket.images, one)})" for bucket in small)
        yield Finding(
            "warning",
            f"In {folder} fewer {one}s than the batch size of {size} fall into {sizes}, so these "
            f"batches are smaller. Crop the {scan.dataset.medium}s to fewer shapes, or lower batch_size.",
            folder,
        )
