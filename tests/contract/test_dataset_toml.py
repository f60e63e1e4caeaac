"""Keys of a dataset TOML beside the trainer's schema."""

import tomllib

import pytest

from musabi.contract import committed, dataset_faults
from musabi.contract.surface import Surface

GOOD = """
[general]
resolution = [960, 544]
caption_extension = ".txt"
batch_size = 1
enable_bucket = true

[[datasets]]
image_directory = "/data/images"
cache_directory = "/data/cache"
control_resolution = 1024

[[datasets]]
video_directory = "/data/videos"
cache_directory = "/data/cache2"
target_frames = [1, 25, 45]
source_fps = 30.0
resolution = 512
"""


def told(text: str) -> list[tuple[str, str]]:
    return [(fault.what, fault.message) for fault in dataset_faults(committed(), tomllib.loads(text))]


def test_a_right_config_has_no_faults() -> None:
    assert told(GOOD) == []


@pytest.mark.parametrize(
    ("text", "what", "message"),
    [
        (
            "[general]\nbatchsize = 1",
            "unknown",
            "[general]: there is no key batchsize. Did you mean batch_size?",
        ),
        (
            "[general]\ncache_directory = '/a'",
            "place",
            "[general]: cache_directory belongs in a dataset of images or a dataset of videos, not here.",
        ),
        (
            "[[datasets]]\nimage_directory = '/a'\n[[datasets]]\nimage_directory = '/b'\nsource_fps = 24.0",
            "place",
            "[[datasets]] number 2: source_fps belongs in a dataset of videos, not here.",
        ),
        (
            "[[datasets]]\nvideo_directory = '/a'\nsource_fps = 24",
            "type",
            "[[datasets]] number 1: source_fps must be a number with a decimal point, such as 30.0, not 24.",
        ),
        (
            "[[datasets]]\nvideo_directory = '/a'\ntarget_frames = 25",
            "type",
            "[[datasets]] number 1: target_frames must be a list of whole numbers, such as [1, 25], not 25.",
        ),
        ("[general]\nbatch_size = true", "type", "[general]: batch_size must be a whole number, not true."),
        (
            "[general]\nresolution = [512, 512, 3]",
            "type",
            "[general]: resolution must be a whole number or [width, height], not [512, 512, 3].",
        ),
        (
            "[[datasets]]\nimage_directory = '/a'\nflux_kontext_no_resize_control = true",
            "deprecated",
            "[[datasets]] number 1: flux_kontext_no_resize_control is deprecated. Write no_resize_control instead.",
        ),
        (
            "[general]\nflux_kontext_no_resize_control = true",
            "place",
            "[general]: flux_kontext_no_resize_control belongs in a dataset of images, not here.",
        ),
        ("batch_size = 1", "place", "batch_size stands above the first table. Put it under [general]."),
        ("[generals]\nbatch_size = 1", "unknown", "There is no table [generals]. Did you mean general?"),
        ("[datasets]\nbatch_size = 1", "type", "datasets must be a list of tables. Write [[datasets]]."),
        ("general = 1", "type", "general must be a table. Write [general], with its keys below it."),
        ("datasets = [1]", "type", "datasets must be a list of tables. Write [[datasets]]."),
    ],
)
def test_a_fault_names_its_place_and_the_mend(text: str, what: str, message: str) -> None:
    assert told(text) == [(what, message)]


def test_all_faults_are_found_at_once() -> None:
    text = "[general]\nbatchsize = 1\n[[datasets]]\nimage_directory = 3\nsource_fps = 1.0"
    assert [what for what, _ in told(text)] == ["unknown", "type", "place"]


def test_a_trainer_without_a_schema_refuses_no_key() -> None:
    assert dataset_faults(Surface("", "", "", (), {}), {"x": 1}) == ()
