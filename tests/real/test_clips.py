"""The clips that a request's videos are cut into are what musubi-tuner's own dataset takes: all of each, once."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from musabi.dataset.clips import cut
from musabi.recipes.load import load
from musabi.serverless.request.clips import clip_plan
from musabi.serverless.request.dataset_toml import dataset_toml
from real.conftest import Pod
from serverless.request.examples import a_request

WHAT_THE_TRAINER_TAKES = """
import argparse, json, sys
from musubi_tuner.dataset import config_utils
from musubi_tuner.dataset.config_utils import BlueprintGenerator, ConfigSanitizer

config = config_utils.load_user_config(sys.argv[1])
blueprint = BlueprintGenerator(ConfigSanitizer()).generate(config, argparse.Namespace(), architecture="wan")
group = config_utils.generate_dataset_group_by_blueprint(blueprint.dataset_group)
taken = [
    [item.caption, len(item.content)]
    for dataset in group.datasets
    for _, batch in dataset.retrieve_latent_cache_batches(1)
    for item in batch
]
print("TAKEN", json.dumps(sorted(taken)))
"""


def draw_video(file: Path, fps: int, frames: int) -> None:
    """Write a video of 128 x 96 pixels that grows lighter, and its caption."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(frames):
            grey = np.full((96, 128, 3), number * 2 % 250, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
    file.with_suffix(".txt").write_text(file.name)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("single_middle", [["long.mp4", 33], ["short.mov", 17], ["whole.mp4", 33]]),
        ("multiple_overlapping", [*[["long.mp4", 33]] * 2, *[["short.mov", 17]] * 2, ["whole.mp4", 33]]),
    ],
)
def test_the_trainer_takes_every_clip_whole(
    pod: Pod, tmp_path: Path, mode: str, expected: list[list[object]]
) -> None:
    dataset = {"type": "precaptioned", "videos_url": "https://example.com/videos.zip"}
    training = {"video_clip_mode": mode, "frame_buckets": [1, 17, 33], "resolution": [128, 96]}
    request, choice = a_request("wan14b_t2v", training, dataset=dataset)
    videos, clips = tmp_path / "videos", tmp_path / "clips"
    videos.mkdir()
    draw_video(videos / "long.mp4", 30, 120)  # 4 s: 64 frames of the model's 16 a second
    draw_video(videos / "short.mov", 24, 31)
    draw_video(videos / "whole.mp4", 16, 33)
    plan = clip_plan(request, choice)
    assert plan is not None
    cut(videos, clips, plan)
    config = tmp_path / "dataset.toml"
    config.write_text(dataset_toml(request, load(choice.model), None, clips, tmp_path))
    printed = pod.run(str(pod.python), "-c", WHAT_THE_TRAINER_TAKES, str(config))
    (line,) = [line for line in printed.splitlines() if line.startswith("TAKEN ")]
    assert json.loads(line.removeprefix("TAKEN ")) == expected
