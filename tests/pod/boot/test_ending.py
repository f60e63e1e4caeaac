"""A container that is stopped in the middle of a run: what the run record says, and that nothing is left."""

import json
import signal
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from musabi.job.record import RunRecord
from musabi.pod.boot.stop_runs import active_runs, end_record, last_step, words
from pod.boot.box import Box, wait_for
from pod.boot.hanging import opens_that_hang
from small.model import TOML, draw_images, make_small_model

# A runner that hears SIGTERM and takes longer than the platform gives, as a trainer does that writes a big state.
STAND_IN_RUNNER = """
import json, os, signal, sys, time
from musabi.identity import identity
from musabi.job.record import RunFolder, RunRecord, RunState, StepOutcome, own_process
from pathlib import Path
folder = RunFolder(Path(sys.argv[1]))
folder.path.mkdir(parents=True)
pid, started = own_process()
plan = {"schedule": {"steps": 180}}
steps = [StepOutcome(name="train", title="Training", argv=[], state="running")]
folder.save(RunRecord(id="slow", state=RunState.RUNNING, pid=pid, pid_started=started, container=identity(),
                      job={}, plan=plan, steps=steps))
folder.events_file.write_text('{"phase": "train", "step": 70, "loss": 0.1}\\n')
signal.signal(signal.SIGTERM, lambda *_: folder.log_file.write_text("heard"))
while True:
    time.sleep(1)
"""
ENGINE = {
    "ENGINE": "diffusers",
    "OUTPUT_NAME": "demo",
    "NETWORK_DIM": "4",
    "NETWORK_ALPHA": "4",
    "MAX_TRAIN_EPOCHS": "20000",
    "SAVE_EVERY_N_EPOCHS": "5000",
    "HF_HOME": "/hf",
}


def record_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return values


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("diffusers") is None or find_spec("torch") is None,
    reason="the extra [diffusers] is not installed",
)
def test_a_training_is_saved_when_the_container_is_stopped(box: Box, tmp_path: Path) -> None:
    make_small_model(tmp_path / "models", tmp_path / "hf")
    for name, place in (("models", "/workspace/models"), ("hf", "/hf")):
        box.path(place).mkdir(parents=True, exist_ok=True)
        box.mount("--bind", str(tmp_path / name), "{}" + place)
    draw_images(box.path("/workspace/dataset/images"))
    toml = TOML.format(images="/workspace/dataset/images", cache="/workspace/dataset/cache")
    box.put("/workspace/dataset/dataset.toml", toml)
    boot = box.start(**ENGINE).ready()
    box.ok("musabi", "prepare", seconds=300)
    box.ok("musabi", "train", "--detach", seconds=300)
    run = max(box.path("/workspace/runs").glob("demo-*"), key=lambda path: path.stat().st_ctime)
    wait_for(lambda: last_step(run / "events.jsonl") >= 3, 240, "three steps")
    begun = time.monotonic()
    assert boot.end(10) == 143
    took = time.monotonic() - begun
    record = record_of(run)
    assert took < 5
    assert record["state"] == "stopped" and record["exit_code"] == 143
    assert "nothing is lost. Go on with: musabi train --resume" in record["message"]
    assert "was asked to save and stop" in boot.log
    again = box.start(**ENGINE).ready()
    assert "resume" in box.ok("musabi", "train", "--resume", "--dry-run", seconds=120).lower()
    assert again.end(10) == 143


@pytest.mark.slow
def test_a_run_that_does_not_end_in_time_is_ended_in_its_record(box: Box) -> None:
    boot = box.start().ready()
    box.put("/runner.py", STAND_IN_RUNNER)
    box.ok("sh", "-c", f"setsid {sys.executable} /runner.py /workspace/runs/slow >/dev/null 2>&1 &")
    folder = box.path("/workspace/runs/slow")
    wait_for(lambda: (folder / "events.jsonl").exists(), what="the run")
    other = box.path("/workspace/runs/elsewhere")
    other.mkdir()
    theirs = record_of(folder) | {"id": "elsewhere", "container": "another pod", "pid": 1}
    (other / "record.json").write_text(json.dumps(theirs))
    begun = time.monotonic()
    assert boot.end(10) == 143
    assert time.monotonic() - begun < 5
    record = RunRecord.model_validate(record_of(folder))
    assert (folder / "log.txt").read_text() == "heard"
    assert json.loads((folder / "stop.json").read_text())["after_save"] is False
    assert record.state == "stopped" and record.exit_code == 143 and record.steps[0].state == "stopped"
    assert "at step 70 of 180" in str(record.message) and "70 steps are lost" in str(record.message)
    assert record_of(other) == theirs
    assert not (other / "stop.json").exists()


def start_runs(box: Box, *names: str) -> list[Path]:
    """Start a stand-in runner each; return the folders of their runs."""
    box.put("/runner.py", STAND_IN_RUNNER)
    for name in names:
        box.ok("sh", "-c", f"setsid {sys.executable} /runner.py /workspace/runs/{name} >/dev/null 2>&1 &")
    folders = [box.path(f"/workspace/runs/{name}") for name in names]
    wait_for(lambda: all((folder / "events.jsonl").exists() for folder in folders), what="the runs")
    time.sleep(0.2)  # the handler comes after the file
    return folders


@pytest.mark.slow
def test_all_runners_hear_of_the_end_though_nothing_can_be_written(box: Box) -> None:
    boot = box.start().ready()
    folders = start_runs(box, "a", "b")
    begun = time.monotonic()
    with opens_that_hang(folders, lambda name: name.startswith((".stop.json", ".record.json"))):
        assert boot.end(10) == 143
    assert time.monotonic() - begun < 7
    assert [(folder / "log.txt").read_text() for folder in folders] == ["heard", "heard"]
    assert "The stop requests: the volume did not answer within 1 s" in boot.log
    assert "The run records: the volume did not answer within 1 s" in boot.log
    assert boot.log.rstrip().endswith("boot: Ended.")


@pytest.mark.slow
def test_a_record_with_an_odd_process_does_not_keep_the_pod_from_its_end(box: Box) -> None:
    boot = box.start().ready()
    (folder,) = start_runs(box, "slow")
    odd = box.path("/workspace/runs/odd")
    odd.mkdir()
    strange = record_of(folder) | {"pid": "1", "pid_started": None}
    (odd / "record.json").write_text(json.dumps(strange))
    assert boot.end(10) == 143
    assert (folder / "log.txt").read_text() == "heard"
    assert record_of(folder)["state"] == "stopped"
    assert boot.log.rstrip().endswith("boot: Ended.")


@pytest.mark.slow
def test_a_bootstrap_that_is_stopped_writes_that_down(box: Box) -> None:
    slow = {
        "RUN_BOOTSTRAP_ON_START": "1",
        "SKIP_MODEL_DOWNLOAD": "1",
        "MUSUBI_REPO_URL": "http://127.0.0.1:9/m.git",
    }
    boot = box.start(**slow)
    state = box.path("/workspace/.musabi/bootstrap.json")
    wait_for(lambda: state.exists() and '"running"' in state.read_text(), what="the bootstrap")
    assert boot.end(10) == 143
    assert json.loads(state.read_text())["run"]["state"] == "interrupted"


@pytest.mark.slow
def test_ctrl_c_ends_a_boot_too(box: Box) -> None:
    boot = box.start().ready()
    boot.signal(signal.SIGINT)
    assert boot.process.wait(10) == 130


def test_the_record_says_where_to_go_on(tmp_path: Path) -> None:
    state = tmp_path / "demo-000020-state"
    state.mkdir()
    plan, leg = {"schedule": {"steps": 180}}, {"steps_per_epoch": 3, "steps": 180}
    file = {"kind": "state", "path": str(state), "epoch": 20, "step": None, "made": 5.0}
    gone = file | {"path": str(tmp_path / "pruned"), "made": 9.0}
    base = {"plan": plan, "legs": [leg], "files": []}
    say: Callable[..., str] = words
    assert "Nothing" in say(base, 0) or "nothing is lost" in say(base, 0)
    assert "70 steps are lost. Start again with: musabi train" in say(base, 70)
    assert "demo-000020-state; 10 steps since then are lost. Go on with: musabi train --resume" in say(
        base | {"files": [file, gone]}, 70
    )
    assert "nothing is lost. Go on" in say(base | {"files": [file]}, 60)
    assert "went on from; 5 steps" in say(base | {"start_step": 65}, 70)
    assert say({}, 0)


def test_one_odd_record_does_not_hide_the_others(tmp_path: Path) -> None:
    import os

    from musabi.job.record import own_process

    pid, started = own_process()
    good = {"state": "running", "container": "here", "pid": pid, "pid_started": started}
    odd: list[object] = [[], {"state": "planned", "container": "here", "created": "soon"}, good, "text"]
    for number, record in enumerate(odd):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "record.json").write_text(json.dumps(record))
    runs = active_runs(tmp_path, "here")
    assert [run.pid for run in runs] == [os.getpid()]
    assert active_runs(tmp_path, "elsewhere") == []
    (tmp_path / "2" / "record.json").write_text(json.dumps(good | {"steps": None, "plan": 3}))
    assert end_record(runs[0]) is None
