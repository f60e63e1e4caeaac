from pathlib import Path
from typing import Any

from musabi.commands.check import check_as_text
from musabi.dataset.check import check
from musabi.dataset.config import read_config
from musabi.dataset.sheet import render
from musabi.recipes.recipe import DatasetRules


def test_videos_are_counted_by_their_clips_and_not_decoded_as_pictures(
    folder: Any, make_video: Any, tmp_path: Path
) -> None:
    make_video(folder.images / "long.mp4", frames=40)
    make_video(folder.images / "short.mp4", frames=9)
    toml = tmp_path / "videos.toml"
    toml.write_text(
        '[general]\nresolution = [64, 64]\ncaption_extension = ".txt"\n[[datasets]]\ntarget_frames = [1, 17]\n'
        f'frame_extraction = "chunk"\nvideo_directory = "{folder.images}"\n'
        f'cache_directory = "{folder.cache}"\n'
    )
    rules = DatasetRules(takes=("image", "video"), keys=("target_frames", "frame_extraction"), fps=16)
    report = check(read_config(toml, rules, "wan"))
    assert report.trained_on == "2 videos"
    assert not report.seen
    frames = {bucket.frames: bucket.images for bucket in report.buckets}
    assert frames == {1: 49, 17: 2}
    text = check_as_text(report)
    assert text.startswith(f"2 videos, {report.steps_per_epoch} steps an epoch")
    assert "x 17 frames: 2 clips" in text
    page = render(report, "")
    assert "long.mp4" in page and "40 frames" in page
