"""Against what musubi-tuner v0.3.4's own dataset classes did with the same names, sizes and videos.

`trainer/answers.json` holds what they answered: bucket choice, control matching, layers, the names of the
cache files of clips and sections, and the batches of an epoch over those files.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from musabi.dataset.buckets import bucket_for, bucket_of_area, buckets
from musabi.dataset.caches import latents_files
from musabi.dataset.candidates import files_in
from musabi.dataset.config import Control, ImageDataset
from musabi.dataset.control import match_images, match_videos, trained_size
from musabi.dataset.extensions import IMAGE_EXTENSIONS
from musabi.dataset.frames import DEFAULT_MOST, Extraction, clips
from musabi.dataset.items import Item
from musabi.dataset.targets import match_targets
from musabi.recipes.recipe import DatasetRules

ANSWERS = json.loads((Path(__file__).parent / "trainer" / "answers.json").read_text())
HERE = Path("/data")

Case = dict[str, Any]


def answers(name: str) -> Any:
    return pytest.mark.parametrize("case", ANSWERS[name], ids=lambda case: str(ANSWERS[name].index(case)))


@answers("step_32")
def test_buckets_of_another_step(case: Case) -> None:
    got = [
        bucket_for(*size, tuple(case["resolution"]), True, case["no_upscale"], 32) for size in case["sizes"]
    ]
    assert [list(size) for size in got] == case["buckets"]


@answers("of_area")
def test_control_images_get_the_size_that_the_trainer_gives_them(case: Case) -> None:
    width, height = case["resolution"]
    for size, expected in zip(case["sizes"], case["buckets"], strict=True):
        if expected is None:
            with pytest.raises(ValueError, match="too narrow"):
                bucket_of_area(*size, width * height, case["step"])
        else:
            assert list(bucket_of_area(*size, width * height, case["step"])) == expected


@answers("control")
def test_control_images_are_matched_as_the_trainer_does(case: Case, tmp_path: Path) -> None:
    for name in case["controls"]:
        (tmp_path / name).touch()
    images = [HERE / name for name in sorted(case["images"])]
    matched = match_images(images, files_in(tmp_path, IMAGE_EXTENSIONS), case["number"])
    if case["matched"] is None:
        assert matched.faults
        return
    got = {image.name: [path.name for path in paths] for image, paths in matched.files.items()}
    # Where its order is chance, or it takes only the first few, ours is an error.
    too_many = {image.name for image, fault in matched.faults.items() if "where the model takes" in fault}
    doubtful = {image.name for image, fault in matched.faults.items() if "same place" in fault}
    assert {image.name for image in matched.faults} == doubtful | too_many
    for name in got:
        assert got[name] == case["matched"][name]
    assert got.keys() | doubtful == case["matched"].keys()


@answers("layers")
def test_layers_are_found_as_the_trainer_finds_them(case: Case) -> None:
    matched = match_targets([HERE / name for name in case["images"]], [HERE / name for name in case["bare"]])
    if case["layers"] is None:
        assert matched.faults
        return
    got = {image.name: [path.name for path in paths] for image, paths in matched.files.items() if paths}
    assert got == case["layers"]
    assert not matched.faults


@answers("video_control")
def test_control_videos_are_matched_as_the_trainer_does(case: Case, tmp_path: Path) -> None:
    for name in case["controls"]:
        (tmp_path / name).touch()
    for name in case["folders"]:
        (tmp_path / name).mkdir()
    matched = match_videos([HERE / name for name in case["videos"]], tmp_path)
    got = {video.name: path.name for video, (path,) in matched.files.items()}
    assert (None if matched.faults else got) == case["matched"]


def extraction(options: Case, fps: float) -> Extraction:
    return Extraction(
        mode=options.get("frame_extraction", "head"),
        asked=tuple(options.get("target_frames", (1,))),
        stride=options.get("frame_stride", 1),
        sample=options.get("frame_sample", 1),
        most=options.get("max_frames", DEFAULT_MOST),
        source_fps=options.get("source_fps"),
        target_fps=fps,
    )


def video_dataset(video: Extraction, architecture: str = "wan", **more: Any) -> ImageDataset:
    more = {"resolution": (64, 64), **more}
    return ImageDataset(HERE, HERE, video=video, architecture=architecture, **more)


def video_item(frames: int, size: list[int], video: Extraction, name: str) -> Item:
    bucket = bucket_for(*size, (64, 64), True, False)
    return Item(
        HERE / f"{name}.mp4",
        name,
        "caption",
        None,
        *size,
        bucket,
        medium="video",
        frames=frames,
        clips=clips(frames, video),
    )


@answers("clips")
def test_clips_are_cut_and_named_as_the_trainer_does(case: Case) -> None:
    video = extraction(case["options"], case["fps"])
    item = video_item(case["frames"], case["size"], video, "my_clip")
    files = latents_files(item, video_dataset(video, case["architecture"]))
    assert sorted(path.name for path in files) == case["files"]


@answers("sections")
def test_framepack_sections_are_counted_and_named_as_the_trainer_does(case: Case) -> None:
    video = extraction({"frame_extraction": "full", "max_frames": 200}, 30.0)
    dataset = video_dataset(video, "fp", window=case["window"])
    files = latents_files(video_item(case["frames"], case["size"], video, "a_b"), dataset)
    assert sorted(path.name for path in files) == ([] if case["too_short"] else case["files"])


@answers("image_epochs")
def test_control_images_split_batches_as_in_the_trainer(case: Case) -> None:
    resolution, area = (case["resolution"], case["resolution"]), case["options"].get("control_resolution")
    control = Control(HERE, tuple(area) if area else None, not case["options"].get("no_resize_control"))
    how = (resolution, case["enable_bucket"], case["bucket_no_upscale"])
    dataset = ImageDataset(
        HERE,
        HERE,
        ".txt",
        resolution,
        case["batch_size"],
        case["num_repeats"],
        *how[1:],
        rules=DatasetRules(control="any", bucket_step=case["step"]),
        control=control,
    )
    items = []
    for number, each in enumerate(case["items"]):
        bucket = bucket_for(*each["size"], *how, case["step"])
        sizes = tuple(trained_size(*size, bucket, control, case["step"]) for size in each["controls"])
        assert [list(size) for size in sizes] == each["control_sizes"]
        image = HERE / f"{number}.png"
        items.append(Item(image, str(number), "", None, *each["size"], bucket, (image,), sizes))
    assert sum(bucket.batches for bucket in buckets(items, dataset)) == case["batches"]


@answers("video_epochs")
def test_an_epoch_over_videos_has_the_trainers_batches(case: Case) -> None:
    video = extraction(case["options"], 16.0)
    settings = ("batch_size", "num_repeats", "enable_bucket", "bucket_no_upscale")
    dataset = video_dataset(video, **{name: case[name] for name in settings})
    items = [
        video_item(each["frames"], each["size"], video, str(number))
        for number, each in enumerate(case["items"])
    ]
    found = buckets(items, dataset)
    assert {f"{each.width}x{each.height}x{each.frames}": each.images for each in found} == case["files"]
    assert sum(each.batches for each in found) == case["batches"]
