"""Datasets of videos: what is found, what is taken of it, what is said about it, and their caches."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from musabi.dataset import identity, video
from musabi.dataset.buckets import buckets
from musabi.dataset.caches import open_memory
from musabi.dataset.config import DatasetConfig, read_config
from musabi.dataset.findings import scan_findings
from musabi.dataset.frames import Clip
from musabi.dataset.gather import dataset_facts
from musabi.dataset.items import Scan, scan
from musabi.errors import RequestError
from musabi.job.facts import DatasetFacts
from musabi.job.model import Caching
from musabi.recipes.recipe import DatasetRules

MakeVideo = Callable[..., Path]
WAN = DatasetRules(takes=("image", "video"), fps=16.0)
FUN_CONTROL = WAN.model_copy(update={"control": "one"})
FRAMEPACK = DatasetRules(takes=("video",), fps=30.0, keys=("fp_latent_window_size",))


def write(folder: Any, options: str = "", source: str = "") -> Path:
    source = source or f'video_directory = "{folder.images}"\ncaption_extension = ".txt"'
    folder.toml.write_text(
        f'[[datasets]]\n{source}\ncache_directory = "{folder.cache}"\nresolution = 64\n{options}\n'
    )
    return Path(folder.toml)


def read(
    folder: Any, options: str = "target_frames = [5]", rules: DatasetRules = WAN, source: str = ""
) -> tuple[DatasetConfig, Scan]:
    config = read_config(write(folder, options, source), rules, "fp" if rules is FRAMEPACK else "wan")
    return config, scan(config.datasets[0])


def said(folder: Any, level: str, options: str = "target_frames = [5]", rules: DatasetRules = WAN) -> str:
    config, found = read(folder, options, rules)
    return "\n".join(each.message for each in scan_findings(config, [found]) if each.level == level)


def test_videos_are_found_with_captions_frames_buckets_and_clips(folder: Any, make_video: MakeVideo) -> None:
    make_video(folder.images / "b_2.mp4", 12, (96, 64), 16, caption=" a caption \n")
    make_video(folder.images / "a.WEBM", 4, (64, 64), 16, "libvpx")
    (folder.images / "c.Mp4").touch()
    (folder.images / "d.gif").touch()
    folder.add("e.png")
    _, found = read(folder, 'target_frames = [5, 1]\nframe_extraction = "chunk"')
    short, long = found.items
    assert [item.key for item in found.items] == ["a", "b_2"]
    assert (long.caption, long.width, long.height, long.frames, long.fps) == ("a caption", 96, 64, 12, 16.0)
    assert long.bucket == (80, 48)
    assert long.clips == (*(Clip(start, 1) for start in range(12)), Clip(0, 5), Clip(5, 5))
    assert short.clips == tuple(Clip(start, 1) for start in range(4))
    assert [path.name for path in found.ignored] == ["c.Mp4", "d.gif"]


def test_a_video_without_a_caption_stops_the_trainer_so_it_is_an_error_in_any_case(
    folder: Any, make_video: MakeVideo
) -> None:
    make_video(folder.images / "a.mp4", caption=None)
    make_video(folder.images / "b.mp4")
    config, found = read(folder)
    (error,) = [each for each in scan_findings(config, [found], True) if each.level == "error"]
    assert "1 video in" in error.message
    assert "without a .txt caption file: a.mp4. The trainer stops at a video without one." in error.message


def test_a_video_that_breaks_off_is_an_error_that_names_it(folder: Any, make_video: MakeVideo) -> None:
    path = make_video(folder.images / "a.mp4", 40, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[:-300])
    assert said(folder, "error") == f"{path} is cut off. Replace it or remove it."


def test_a_folder_without_videos_says_where_they_may_be(folder: Any) -> None:
    (folder.images / "a.gif").touch()
    assert "There are no videos to train on" in said(folder, "error")
    assert "does not take a.gif. Save them as MP4" in said(folder, "error")


def test_a_jsonl_file_names_videos_and_folders_of_frames(folder: Any, make_video: MakeVideo) -> None:
    clip = make_video(folder.images / "a.mp4", 9)
    frames = folder.images / "walk.v1"
    frames.mkdir()
    for number in range(7):
        Image.new("RGB", (64, 32)).save(frames / f"{number:03d}.png")
    (frames / "notes.txt").touch()
    lines = [{"video_path": str(path), "caption": " x "} for path in (clip, frames)]
    jsonl = folder.root / "list.jsonl"
    jsonl.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config, found = read(folder, "target_frames = [5]", source=f'video_jsonl_file = "{jsonl}"')
    walk = found.items[1]
    assert [item.key for item in found.items] == ["a", "walk"]
    assert (walk.width, walk.height, walk.frames, walk.fps, walk.clips) == (64, 32, 7, None, (Clip(0, 5),))
    jsonl.write_text(json.dumps({"video_path": f"{frames}/", "caption": "x"}) + "\n")
    with pytest.raises(RequestError, match="must not end in a slash"):
        scan(config.datasets[0])
    empty = folder.root / "empty"
    empty.mkdir()
    jsonl.write_text(json.dumps({"video_path": str(empty), "caption": "x"}) + "\n")
    assert scan(config.datasets[0]).unreadable == ((empty, "is a folder without images"),)


def test_control_videos_are_found_and_missing_ones_are_errors(folder: Any, make_video: MakeVideo) -> None:
    control = folder.root / "control"
    control.mkdir()
    for name in ("a.mp4", "b.mp4"):
        make_video(folder.images / name)
    depth = make_video(control / "a.mov", caption=None)
    config, found = read(folder, f'target_frames = [5]\ncontrol_directory = "{control}"', FUN_CONTROL)
    assert found.items[0].controls == (depth,)
    assert found.held == ()
    make_video(depth, 20, caption=None)
    _, found = read(folder, f'target_frames = [5]\ncontrol_directory = "{control}"', FUN_CONTROL)
    assert found.held == (folder.images / "a.mp4",)
    assert any("The trainer holds its last frame" in each.message for each in scan_findings(config, [found]))
    assert found.faults == ((folder.images / "b.mp4", "has no control video"),)
    (error,) = [each for each in scan_findings(config, [found]) if each.level == "error"]
    assert error.message.startswith(f"{folder.images}/b.mp4 has no control video. Look into {control}")
    with pytest.raises(RequestError, match="needs a control video for each item"):
        read(folder, "", FUN_CONTROL)


@pytest.mark.parametrize(
    ("options", "level", "text"),
    [
        ("target_frames = [20, 5]", "note", "target_frames = [20, 5] is trained as [5, 17]"),
        ('frame_extraction = "full"\nmax_frames = 24', "note", "max_frames = 24 is trained as 21 at most."),
        ("", "warning", "the videos are trained as single pictures"),
        ('frame_extraction = "uniform"', "warning", 'with one frame_sample is taken as "head"'),
        ("target_frames = [45]", "error", "The longest has 24 frames. Lower target_frames."),
        (
            "target_frames = [17]\nsource_fps = 30.0",
            "error",
            "The longest has 13 frames at 16 a second. Lower target_frames.",
        ),
        (
            "target_frames = [5]\nsource_fps = 30.0",
            "warning",
            "at 16 frames a second: a.mp4. source_fps says 30",
        ),
        ("target_frames = [5]\nsource_fps = 12.0", "warning", "is below the model's 16 frames a second"),
        (
            'target_frames = [9]\nframe_extraction = "chunk"',
            "note",
            '2 videos in {images} give 3 clips of 9 frames ("chunk").',
        ),
        ("target_frames = [9]", "warning", "1 video in {images} shorter than 9 frames: b.mp4."),
        (
            "target_frames = [5]\nbatch_size = 2",
            "error",
            "are cached in 2 sizes (64x64, 80x48), and without buckets a batch of 2 would mix them.",
        ),
    ],
)
def test_what_is_odd_with_frames_is_said(
    folder: Any, make_video: MakeVideo, options: str, level: str, text: str
) -> None:
    make_video(folder.images / "a.mp4", 24, fps=16)
    make_video(folder.images / "b.mp4", 12 if "chunk" in options else 6, (64, 64), fps=30)
    assert text.format(images=folder.images) in said(folder, level, options)


def test_one_size_needs_no_buckets_for_larger_batches(folder: Any, make_video: MakeVideo) -> None:
    for name in ("a.mp4", "b.mp4"):
        make_video(folder.images / name)
    assert said(folder, "error", "target_frames = [5]\nbatch_size = 2") == ""


def test_rates_that_miss_the_models_are_named_with_what_to_set(folder: Any, make_video: MakeVideo) -> None:
    make_video(folder.images / "a.mp4", fps=30)
    assert "set source_fps = 30.0 to drop frames, or store them at 16." in said(folder, "warning")
    assert said(folder, "warning", "target_frames = [5]\nsource_fps = 30.0") == ""
    make_video(folder.images / "a.mp4", fps=12)
    assert "another speed: store them at 16." in said(folder, "warning")


def test_a_turned_video_is_a_warning_and_nothing_that_images_are_mended_for(
    folder: Any, make_video: MakeVideo
) -> None:
    path = make_video(folder.images / "a.mp4", rotation=90)
    _, found = read(folder)
    assert (found.turned, found.rotated) == ((path,), ())
    assert "1 video in" in said(folder, "warning")
    assert "stored turned" in said(folder, "warning")


def test_framepack_needs_a_section_and_means_whole_videos(folder: Any, make_video: MakeVideo) -> None:
    make_video(folder.images / "a.mp4", 40, fps=30)
    make_video(folder.images / "b.mp4", 30, fps=30)
    full = 'frame_extraction = "full"'
    assert "1 video in" in said(folder, "error", full, FRAMEPACK)
    assert "fewer than 37 frames" in said(folder, "error", full, FRAMEPACK)
    assert said(folder, "error", f"{full}\nfp_latent_window_size = 4", FRAMEPACK) == ""
    assert 'Set frame_extraction = "full".' in said(folder, "warning", "target_frames = [37]", FRAMEPACK)


def test_a_batch_counts_the_sections_of_framepack(folder: Any, make_video: MakeVideo) -> None:
    make_video(folder.images / "a.mp4", 80, fps=30)
    _, found = read(folder, 'frame_extraction = "full"\nenable_bucket = true', FRAMEPACK)
    (bucket,) = buckets(found.items, found.dataset)
    assert (bucket.frames, bucket.images, bucket.batches, bucket.batch) == (77, 2, 2, 1)


class Cached:
    """A dataset of two videos, and a stand-in for the caching steps that writes whole, empty tensors."""

    def __init__(self, folder: Any, tensors: Callable[[Path], None]) -> None:
        self.folder, self.tensors = folder, tensors
        self.options = 'target_frames = [5]\nframe_extraction = "chunk"'
        self.rules, self.architecture = WAN, "wan"
        for name in ("vae", "t5", "clip"):
            (folder.root / f"{name}.safetensors").write_bytes(name.encode())

    def look(self) -> DatasetFacts:
        root = self.folder.root
        return dataset_facts(
            read_config(write(self.folder, self.options), self.rules, self.architecture),
            "musubi",
            Caching(),
            latent_weights=(root / "vae.safetensors", root / "clip.safetensors"),
            text_weights=(root / "t5.safetensors",),
        )

    def cache(self) -> None:
        facts = self.look()
        for kind in (facts.latents, facts.text):
            for path in kind.stale:
                path.unlink()
            for path, text in kind.stamp:
                path.write_text(text)
                for name in json.loads(text)["files"]:
                    if not (path.parent / name).exists():
                        self.tensors(path.parent / name)

    def stale(self) -> list[str]:
        return [path.name for path in self.look().latents.stale]


@pytest.fixture
def cached(folder: Any, tensors: Callable[[Path], None], make_video: MakeVideo) -> Cached:
    make_video(folder.images / "a.mp4", 10)
    make_video(folder.images / "b.mp4", 6)
    made = Cached(folder, tensors)
    made.cache()
    return made


def test_each_clip_has_a_file_and_each_video_one_caption(cached: Cached) -> None:
    assert sorted(path.name for path in cached.folder.cache.glob("*.safetensors")) == [
        "a_00000-005_0080x0048_wan.safetensors",
        "a_00005-005_0080x0048_wan.safetensors",
        "a_wan_te.safetensors",
        "b_00000-005_0080x0048_wan.safetensors",
        "b_wan_te.safetensors",
    ]
    facts = cached.look()
    assert facts.latents.fresh and facts.text.fresh
    assert (facts.images, facts.latents.expected, facts.text.expected, facts.batches_per_epoch) == (
        2,
        3,
        2,
        3,
    )


def test_other_windows_leave_those_that_stay_and_name_the_rest(cached: Cached) -> None:
    cached.options = 'target_frames = [5]\nframe_extraction = "head"'
    assert cached.stale() == ["a_00005-005_0080x0048_wan.safetensors"]
    assert cached.look().text.fresh


def test_dropping_frames_or_another_model_file_makes_all_clips_stale(cached: Cached) -> None:
    cached.options += "\nsource_fps = 16.0"
    assert len(cached.stale()) == 3
    cached.options = cached.options.removesuffix("\nsource_fps = 16.0")
    assert cached.stale() == []
    (cached.folder.root / "clip.safetensors").write_text("another")
    assert len(cached.stale()) == 3
    assert cached.look().text.fresh


def test_a_video_that_changed_is_cached_again(cached: Cached, make_video: MakeVideo) -> None:
    make_video(cached.folder.images / "b.mp4", 6, fps=8)
    assert cached.stale() == ["b_00000-005_0080x0048_wan.safetensors"]


def test_the_fingerprint_follows_the_windows(cached: Cached) -> None:
    before = cached.look().fingerprint
    cached.options = 'target_frames = [5]\nframe_extraction = "slide"'
    assert cached.look().fingerprint != before


def test_files_of_another_model_are_a_note_and_never_stale(cached: Cached) -> None:
    for name in ("a_00000-005_0080x0048_hv.safetensors", "a_hv_te.safetensors", "my_lora.safetensors"):
        cached.tensors(cached.folder.cache / name)
    assert cached.look().latents.fresh
    note = said(cached.folder, "note", cached.options)
    assert "2 cache files of other models" in note
    assert "a_00000-005_0080x0048_hv.safetensors, a_hv_te.safetensors." in note


def test_a_second_look_opens_no_video(
    cached: Cached, monkeypatch: pytest.MonkeyPatch, make_video: MakeVideo
) -> None:
    monkeypatch.setattr(identity, "SETTLED_NS", -10_000_000_000)
    first = cached.look()

    def never(_: Path) -> str:
        raise AssertionError("opened again")

    monkeypatch.setattr(video, "_look", never)
    assert cached.look() == first
    dataset = read_config(cached.folder.toml, WAN, "wan").datasets[0]
    assert len(scan(dataset, open_memory(dataset)).items) == 2


def test_sixty_known_videos_are_looked_at_in_a_tenth_of_a_second(
    folder: Any, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processor time, so that other work on the machine does not count."""
    monkeypatch.setattr(identity, "SETTLED_NS", -10_000_000_000)
    first = make_video(folder.images / "00.mp4", 10).read_bytes()
    for number in range(60):
        (folder.images / f"{number:02d}.mp4").write_bytes(first)
        (folder.images / f"{number:02d}.txt").write_text(f"caption {number}")
    dataset = read(folder)[0].datasets[0]
    memory = open_memory(dataset)
    scan(dataset, memory)
    memory.keep()
    times = []
    for _ in range(3):
        start = time.process_time()
        assert len(scan(dataset, open_memory(dataset)).items) == 60
        times.append(time.process_time() - start)
    assert min(times) < 0.1
