"""How fast this machine trains: from its own runs of the same model on the same GPUs, and from nothing else."""

import json
from pathlib import Path

from musabi.job.record import RunState
from musabi.watch.page.train_speed import rate_per_hour, speed_of
from small.page import make_scene
from small.standing import Standing

JOB = {"engine": "musubi", "model": "z-image", "dataset_config": "/a.toml"}
H100 = {"gpu": "H100", "gpus": 1}


def train(pod: Standing, name: str, seconds: float, gpu: str = "H100", **job: str) -> str:
    run = pod.run(
        RunState.DONE,
        name=name,
        done=0,
        job=JOB | {"output_name": name} | job,
        versions={"gpu": gpu},
        gpus=[0],
    )
    with run.events_file.open("w") as file:
        for values in (
            {"phase": "train", "step": 1, "s_per_step": 99.0},
            {"phase": "train", "s_per_step": seconds},
        ):
            file.write(json.dumps(values) + "\n")
        file.write('{"phase": "convert", "s_per_step": 7}\n')
    return run.path.name


def test_the_newest_run_alike_tells_and_one_on_the_same_dataset_counts_first(tmp_path: Path) -> None:
    pod, scene = Standing(tmp_path), make_scene(tmp_path)
    assert speed_of(scene, JOB, H100) is None
    same = train(pod, "same", 1.25)
    train(pod, "other", 2.5, dataset_config="/b.toml")
    found = speed_of(scene, JOB, H100)
    assert found is not None and (found.seconds, found.run) == (1.25, same)
    other = speed_of(scene, JOB | {"dataset_config": "/c.toml"}, H100)
    assert other is not None and other.seconds == 2.5


def test_another_machine_model_or_trainer_tells_nothing(tmp_path: Path) -> None:
    pod, scene = Standing(tmp_path), make_scene(tmp_path)
    train(pod, "slow", 9.0, gpu="A40")
    train(pod, "video", 8.0, model="wan2.1-t2v-1.3b")
    train(pod, "embedded", 7.0, engine="diffusers")
    assert speed_of(scene, JOB, H100) is None
    assert speed_of(scene, JOB, {"gpu": "A40", "gpus": 2}) is None
    assert speed_of(scene, JOB, {"gpu": "A40", "gpus": 1}) is not None


def test_the_rate_is_unknown_where_nobody_told_it(tmp_path: Path) -> None:
    assert rate_per_hour(make_scene(tmp_path)) is None
