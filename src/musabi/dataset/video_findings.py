"""What is wrong or odd in a dataset of videos: clips that are too short, rates that differ, odd settings."""

from collections.abc import Iterable

from musabi.dataset.finding import Finding, count, names
from musabi.dataset.frames import Extraction, frames_left, rounded
from musabi.dataset.items import Item, Scan

RATE_GRAIN = 0.02
"""Rates that differ by less than this share are the same: 29.97 is 30, and 23.976 is 24."""


def video_errors(scan: Scan) -> Iterable[Finding]:
    """Return what stops the training on videos."""
    dataset = scan.dataset
    if dataset.video is None:
        return
    if scan.items and not any(item.clips for item in scan.items):
        yield Finding(
            "error",
            f"No video in {dataset.place} is long enough for target_frames = {list(dataset.video.asked)}. "
            f"The longest has {max(_there(item, dataset.video) for item in scan.items)} frames"
            f"{_after(dataset.video)}. Lower target_frames.",
            dataset.place,
        )
    yield from _mixed_sizes(scan)
    yield from _too_short_for_a_section(scan)


def video_remarks(scan: Scan) -> Iterable[Finding]:
    """Return what is odd with videos, and what is taken of them."""
    video = scan.dataset.video
    if video is None:
        return
    place = scan.dataset.place
    warnings = (
        *_settings(scan, video),
        *_rates(scan, video),
        *_unused(scan, video),
        *_turned(scan),
        *_held(scan),
    )
    yield from (Finding("warning", message, place) for message in warnings)
    yield from (Finding("note", message, place) for message in (*_rounding(video), *_taken(scan, video)))


def _mixed_sizes(scan: Scan) -> Iterable[Finding]:
    """Without buckets the trainer puts clips of all sizes into one batch, and stops where it stacks them."""
    dataset = scan.dataset
    sizes = sorted({item.bucket for item in scan.items if item.clips})
    if dataset.batch_size > 1 and not dataset.enable_bucket and len(sizes) > 1:
        said = ", ".join(f"{width}x{height}" for width, height in sizes)
        yield Finding(
            "error",
            f"The videos in {dataset.place} are cached in {len(sizes)} sizes ({said}), and without buckets "
            f"a batch of {dataset.batch_size} would mix them. Set enable_bucket = true, or batch_size = 1.",
            dataset.place,
        )


def _too_short_for_a_section(scan: Scan) -> Iterable[Finding]:
    dataset = scan.dataset
    if dataset.window is None:
        return
    needed = dataset.window * dataset.rules.latent_frames + 1
    short = [item.image for item in scan.items if any(length < needed for length in item.lengths)]
    if short:
        yield Finding(
            "error",
            f"{count(len(short), 'video')} in {dataset.place} with clips of fewer than {needed} frames, which "
            f"the trainer needs for one section: {names(short)}. Remove them, or take longer clips.",
            dataset.place,
        )


def _rounding(video: Extraction) -> Iterable[str]:
    changed = [length for length in video.asked if rounded(length, video.latent_frames) != length]
    if changed and video.mode != "full":
        yield (
            f"target_frames = {list(video.asked)} is trained as {list(video.lengths)}: the trainer rounds "
            f"down to multiples of {video.latent_frames} and one more."
        )
    most = rounded(video.most, video.latent_frames)
    if video.mode == "full" and most != video.most:
        yield f"max_frames = {video.most} is trained as {most} at most."


def _settings(scan: Scan, video: Extraction) -> Iterable[str]:
    if video.asked == (1,) and video.mode != "full":
        yield (
            f"target_frames is 1 for {scan.dataset.place}, so the videos are trained as single pictures. "
            "Set it to lengths such as [1, 25, 45]."
        )
    if video.mode == "uniform" and video.sample == 1:
        yield 'frame_extraction = "uniform" with one frame_sample is taken as "head". Set frame_sample.'
    if scan.dataset.window is not None and video.mode != "full":
        yield (
            f'frame_extraction = "{video.mode}" cuts videos before they are split into sections, and the '
            'model is meant to have them whole. Set frame_extraction = "full".'
        )


def _rates(scan: Scan, video: Extraction) -> Iterable[str]:
    """Return how the videos' rates miss what the TOML and the model say; the trainer only drops frames."""
    model, said = video.target_fps, video.source_fps
    if model is None:
        return
    odd = {item.image: item.fps for item in scan.items if item.fps and _differ(item.fps, said or model)}
    rates = ", ".join(f"{rate:g}" for rate in sorted(set(odd.values())))
    told = f"{count(len(odd), 'video')} in {scan.dataset.place} at {rates} frames a second: {names(odd)}."
    if odd and said is None:
        fastest = max(odd.values())
        drop = f"set source_fps = {round(fastest, 2)} to drop frames, or " if fastest > model else ""
        yield (
            f"{told} The model runs at {model:g}, so they are trained at another speed: {drop}store them "
            f"at {model:g}."
        )
    elif odd:
        yield (
            f"{told} source_fps says {said:g}, so they are trained at another speed: give videos of each "
            "rate a [[datasets]] of their own."
        )
    if said is not None and said < model and _differ(said, model):
        yield (
            f"source_fps = {said:g} is below the model's {model:g} frames a second, and the trainer adds "
            f"none, so the videos in {scan.dataset.place} are trained too fast: store them at {model:g}."
        )


def _differ(rate: float, other: float) -> bool:
    return abs(rate - other) > RATE_GRAIN * other


def _unused(scan: Scan, video: Extraction) -> Iterable[str]:
    """Return which videos give no clip, where others do."""
    short = [item.image for item in scan.items if not item.clips]
    if short and len(short) < len(scan.items):
        yield (
            f"{count(len(short), 'video')} in {scan.dataset.place} shorter than "
            f"{count(min(video.lengths), 'frame')}{_after(video)}: {names(short)}. They are not trained on."
        )


def _turned(scan: Scan) -> Iterable[str]:
    if scan.turned:
        yield (
            f"{count(len(scan.turned), 'video')} in {scan.dataset.place} stored turned, and the trainer "
            f"ignores the tag that sets it right: {names(scan.turned)}. Store upright videos."
        )


def _held(scan: Scan) -> Iterable[str]:
    if scan.held:
        yield (
            f"{count(len(scan.held), 'video')} in {scan.dataset.place} with a control video that is shorter: "
            f"{names(scan.held)}. The trainer holds its last frame. Give both the same length."
        )


def _taken(scan: Scan, video: Extraction) -> Iterable[str]:
    pieces = [clip for item in scan.items for clip in item.clips]
    if pieces:
        lengths = ", ".join(f"{length}" for length in sorted({clip.frames for clip in pieces}))
        yield (
            f"{count(len(scan.items), 'video')} in {scan.dataset.place} give {count(len(pieces), 'clip')} of "
            f'{lengths} frames ("{video.cut}").'
        )


def _there(item: Item, video: Extraction) -> int:
    return frames_left(item.frames, video.source_fps, video.target_fps, None)


def _after(video: Extraction) -> str:
    return f" at {video.target_fps:g} a second" if video.source_fps and video.target_fps else ""
