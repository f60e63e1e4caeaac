"""The runs that go on and those that were cut off, and the verbs on them."""

from pathlib import Path
from typing import Any

import pytest

from musabi.errors import RequestError
from musabi.job.record import RunState
from musabi.recipes import make_job
from musabi.settings import load
from musabi.watch.page.train_now import (
    again_words,
    now_part,
    resume_words,
    stages,
    stop_after_save_words,
    stop_words,
)
from small.page import make_scene
from small.standing import HOSTILE, Standing


@pytest.fixture
def pod(tmp_path: Path) -> Standing:
    return Standing(tmp_path)


def test_a_run_that_goes_on_shows_its_progress_and_can_be_stopped(pod: Standing, tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    assert now_part(scene, {}) == ""
    run = pod.run(RunState.RUNNING, name=HOSTILE, steps=100, done=40)
    shown = now_part(scene, {})
    assert "step 40 of 100, epoch 1 of 10, loss 0.5250" in shown and "1 min 12 s left" in shown
    assert 'value="0.4000"' in shown and 'data-verb="train-stop-saved"' in shown
    assert "<script>" not in shown and "<img" not in shown
    run.stop_file.write_text("{}")
    assert "stopping" in now_part(scene, {})


def test_a_run_that_said_nothing_yet_starts(pod: Standing, tmp_path: Path) -> None:
    pod.run(RunState.RUNNING, done=0)
    assert "It starts." in now_part(make_scene(tmp_path), {})


@pytest.mark.parametrize(
    ("state", "changes", "can_go_on"),
    [
        (RunState.STOPPED, {}, False),
        (RunState.FAILED, {}, False),
        (RunState.STOPPED, {"state": True}, True),
        (RunState.FAILED, {"state": True}, True),
        (RunState.RUNNING, {"pid": 1, "pid_started": 1.0}, True),
    ],
)
def test_what_was_cut_off_goes_on_where_it_left_a_state(
    pod: Standing, tmp_path: Path, state: RunState, changes: dict[str, Any], can_go_on: bool
) -> None:
    if changes.pop("state", False):
        (pod.space.output / "demo-000002-state").mkdir(parents=True)
    pod.run(state, **changes)
    shown = now_part(make_scene(tmp_path), {})
    assert ('data-verb="train-resume"' in shown) is can_go_on
    assert 'data-verb="train-again"' in shown and "data-going" not in shown


def test_what_was_done_or_started_again_since_is_not_offered(pod: Standing, tmp_path: Path) -> None:
    pod.run(RunState.STOPPED, name="one")
    pod.run(RunState.DONE, name="one")
    pod.run(RunState.STOPPED, name="two")
    pod.run(RunState.RUNNING, name="two")
    pod.run(RunState.STOPPED, name="cached", plan={"schedule": None, "steps": []})
    assert "train-again" not in now_part(make_scene(tmp_path), {})


def test_steps_that_do_the_same_with_other_files_are_one() -> None:
    steps = [
        {"name": "train", "title": "Train the LoRA", "state": "done"},
        {"name": "convert", "title": "Convert a", "state": "done"},
        {"name": "convert", "title": "Convert b", "state": "running"},
        {"name": "convert", "title": "Convert c", "state": "waiting"},
        {"name": "sample", "title": "Render the sample prompts", "state": "waiting"},
    ]
    assert stages(steps) == [
        {"title": "Train the LoRA", "state": "done"},
        {"title": "Convert the checkpoints, 1 of 3", "state": "running"},
        {"title": "Render the sample prompts", "state": "waiting"},
    ]


def test_verbs_name_a_run_of_this_workspace_and_nothing_else(pod: Standing, tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    name = pod.run(RunState.RUNNING).path.name
    assert stop_words(scene, {"run": name}) == ["stop", f"--run={name}"]
    assert stop_after_save_words(scene, {"run": name}) == ["stop", f"--run={name}", "--after-save"]
    (pod.space.runs / "link").symlink_to(pod.space.runs / name)
    for wrong in ("", "..", "../runs/" + name, "--all", "link", None, 4, name + "x"):
        with pytest.raises(RequestError):
            stop_words(scene, {"run": wrong})


def test_going_on_and_starting_again_take_the_runs_own_settings(pod: Standing, tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    job = make_job(load({"WORKSPACE": str(pod.space.root)}, {"output_name": "robot", "network_dim": "8"}))
    name = pod.run(RunState.STOPPED, name="robot", job=job.model_dump(mode="json")).path.name
    file = pod.space.root / "jobs" / "robot.toml"
    assert resume_words(scene, {"run": name}) == ["run", str(file), "--resume", "--detach"]
    assert "network_dim = 8" in file.read_text()
    assert again_words(scene, {"run": name}) == ["run", str(file), "--overwrite", "--detach"]
