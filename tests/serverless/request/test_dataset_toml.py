"""The dataset TOML of a request, its clips and its sample prompts, as the trainer reads them."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from musabi.dataset.clips import Clips
from musabi.dataset.config import read_config
from musabi.dataset.frames import clips
from musabi.dataset.prompts import prompt_rules, read_prompts
from musabi.recipes import load
from musabi.serverless.request.clips import clip_plan
from musabi.serverless.request.dataset_toml import dataset_toml
from musabi.serverless.request.mistakes import Refused
from musabi.serverless.request.sample_prompts import as_prompt, needs_picture, prompts_text
from musabi.serverless.request.to_settings import untranslated
from serverless.request.examples import a_request

URL = "https://a.example/x.zip"
BOTH = {"type": "precaptioned", "images_url": URL, "videos_url": URL, "image_repeats": 3}
VIDEOS = {"type": "precaptioned", "videos_url": URL}


def written(tmp_path: Path, model: str, training: dict[str, Any], dataset: dict[str, Any]) -> Path:
    request, choice = a_request(model, training, dataset=dataset)
    folders = {}
    for kind, there in (("images", request.has_images), ("videos", request.has_videos)):
        folders[kind] = tmp_path / kind if there else None
        (tmp_path / kind).mkdir(exist_ok=True)
    text = dataset_toml(request, load(choice.model), folders["images"], folders["videos"], tmp_path)
    (tmp_path / "dataset.toml").write_text(text)
    return tmp_path / "dataset.toml"


def test_images_and_videos_are_written_as_the_trainer_reads_them(tmp_path: Path) -> None:
    recipe = load("wan2.1-t2v-1.3b")
    file = written(tmp_path, "wan13", {"batch_size": 2}, BOTH)
    images, videos = read_config(file, recipe.dataset, recipe.architecture, recipe.title).datasets
    assert (images.resolution, images.num_repeats, images.batch_size) == ((1024, 1024), 3, 2)
    assert (videos.resolution, videos.num_repeats, videos.batch_size) == ((832, 480), 5, 2)
    assert images.enable_bucket and videos.enable_bucket
    assert images.cache_directory != videos.cache_directory
    assert images.cache_directory.is_relative_to(tmp_path)


@pytest.mark.parametrize("frames", [17, 33, 49])
def test_a_clip_is_trained_on_at_its_own_length_and_no_other(tmp_path: Path, frames: int) -> None:
    recipe = load("wan2.1-t2v-1.3b")
    file = written(tmp_path, "wan13", {"frame_buckets": [1, 17, 33, 49]}, VIDEOS)
    (videos,) = read_config(file, recipe.dataset, recipe.architecture, recipe.title).datasets
    assert videos.video is not None
    assert [(clip.start, clip.frames) for clip in clips(frames, videos.video)] == [(0, frames)]


def test_a_size_that_was_asked_for_is_taken_for_videos_too(tmp_path: Path) -> None:
    made = tomllib.loads(written(tmp_path, "wan13", {"resolution": [640, 384]}, BOTH).read_text())
    assert [table["resolution"] for table in made["datasets"]] == [[640, 384], [640, 384]]


PLANS = (
    ("wan13", {}, (33,), 16.0),
    ("wan14b_t2v", {"frame_buckets": [1, 17, 33, 49]}, (17, 33, 49), 16.0),
    ("wan13", {"frame_buckets": [49, 18, 20, 17, 1]}, (17, 49), 16.0),
    ("hunyuan-video", {}, (25, 45), 24.0),
    ("framepack", {}, (37, 73, 109, 145), 30.0),
)


@pytest.mark.parametrize(("model", "training", "frames", "fps"), PLANS)
def test_clips_have_lengths_that_the_model_takes(
    model: str, training: dict[str, Any], frames: tuple[int, ...], fps: float
) -> None:
    request, choice = a_request(model, training, dataset=VIDEOS)
    assert clip_plan(request, choice) == Clips("single_middle", frames, fps)


def test_a_length_that_was_changed_is_said() -> None:
    told = untranslated(*a_request("wan13", {"frame_buckets": [1, 18, 33]}, dataset=VIDEOS))
    assert told == (
        "training.frame_buckets: 18 became the next length below of the form 4 x N + 1, which Wan2.1 T2V 1.3B needs.",
    )


def test_images_alone_have_no_clips() -> None:
    assert clip_plan(*a_request("wan13")) is None
    assert clip_plan(*a_request("flux")) is None


def test_a_request_with_videos_and_no_length_for_them_is_refused() -> None:
    with pytest.raises(Refused, match="frame_buckets has no length for videos"):
        a_request("wan13", {"frame_buckets": [1, 4]}, dataset=VIDEOS)


CAPTIONS = (
    "a dog --w 64 --i /etc/passwd",
    "--n nothing",
    "# a comment",
    "two\nlines --d 3",
    "w 512 is a flag",
    "d 3",
    "a--b",
    "x" * 5000,
    "---",
    "\u2028 --seed 3",
)


@pytest.mark.parametrize("caption", CAPTIONS)
def test_a_caption_gives_the_trainer_no_flag(tmp_path: Path, caption: str) -> None:
    request, choice = a_request("qwen")
    recipe = load(choice.model)
    file = tmp_path / "sample_prompts.txt"
    file.write_text(prompts_text(request, recipe, [caption]))
    (prompt,) = read_prompts(file, prompt_rules(recipe))
    assert prompt.given == frozenset()
    assert prompt.text and len(prompt.text) < 600


def test_a_couple_of_captions_are_shown_and_one_of_a_video_model() -> None:
    request, _ = a_request("qwen")
    captions = ["a dog", "a dog", "", "a cat", "a bird"]
    assert prompts_text(request, load("qwen-image"), captions) == "a dog\na cat\n"
    assert prompts_text(request, load("wan2.1-t2v-1.3b"), captions) == "a dog\n"


def test_without_captions_the_trigger_word_is_shown() -> None:
    request, _ = a_request(
        "qwen", dataset={"type": "images", "images_url": URL, "trigger_word": "ohwx --d 1"}
    )
    assert prompts_text(request, load("qwen-image")) == "a photo of ohwx d 1\n"
    assert as_prompt("  a\tb\r\n c ") == "a b c"


def test_a_model_that_begins_from_a_picture_is_given_one(tmp_path: Path) -> None:
    recipe = load("wan2.1-i2v-14b-480p")
    picture = tmp_path / "first.png"
    picture.write_bytes(b"picture")
    file = tmp_path / "sample_prompts.txt"
    request, _ = a_request("wan14b_i2v")
    file.write_text(prompts_text(request, recipe, ["a dog runs"], picture))
    assert needs_picture(recipe) and not needs_picture(load("qwen-image"))
    (prompt,) = read_prompts(file, prompt_rules(recipe))
    assert prompt.image == str(picture)
