"""Several trainings: one a GPU with its own seed, and the queue, on the embedded engine and a small model."""

import json
from pathlib import Path

import pytest

from musabi.job.record import RunFolder, runs
from small.space import Space
from small.standin_gpus import standin_gpus

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("commands")]
JOB = """\
output_name = "{name}"
dataset_config = "dataset/dataset.toml"
sample_prompts = "dataset/sample_prompts.txt"
output_dir = "output"
logging_dir = "logs"
max_train_epochs = 1
"""


@pytest.fixture
def two_gpus(space: Space, tmp_path: Path) -> Space:
    """The workspace, with its caches, on a stand-in for a machine with two GPUs."""
    return Space(space.root, standin_gpus(tmp_path / "gpus", 2, space.environment))


def job_file(space: Space, name: str) -> Path:
    path = space.root / f"{name}.toml"
    path.write_text(JOB.format(name=name))
    return path


def trainings(space: Space) -> dict[str, RunFolder]:
    found = [run for run in runs(space.root / "runs") if run.load().plan.get("schedule")]
    return {str(run.load().job["output_name"]): run for run in found}


def test_each_makes_the_caches_once_and_starts_one_run_a_gpu_with_its_own_seed(
    empty: Space, tmp_path: Path
) -> None:
    space = Space(empty.root, standin_gpus(tmp_path / "gpus", 2, empty.environment))
    printed = space.ok("train", "--gpus", "each", "--epochs", "1", "--set", "seed=7")
    found = {name: run.load() for name, run in trainings(space).items()}
    assert {name: (run.job["seed"], run.gpus) for name, run in found.items()} == {
        "demo-seed7": (7, [0]), "demo-seed8": (8, [1]),
    }  # fmt: skip
    for record in found.values():
        assert [step.state for step in record.steps] == ["skipped", "skipped", "done"]
        env = [step["env"] for step in record.plan["steps"]]
        assert {one["CUDA_VISIBLE_DEVICES"] for one in env} == {str(record.gpus[0])}
        assert (space.output / f"{record.job['output_name']}.safetensors").exists()
    first, second = found.values()
    assert first.ended is not None and second.created < first.ended  # they went on side by side
    assert "demo-seed7" in printed and "Started demo-seed8" in printed
    assert len(runs(space.root / "runs")) == 3  # the caches' run, and these two


def test_a_plan_for_each_shows_every_run_and_more_gpus_than_there_are_are_refused(two_gpus: Space) -> None:
    printed = two_gpus.ok("plan", "--gpus", "each")
    assert "demo-seed42, on GPU 0:" in printed and "demo-seed43, on GPU 1:" in printed
    code, message = two_gpus.refused("plan", "--gpus", "3")
    assert code == 3 and "only 2 GPUs here" in message
    plan = json.loads(two_gpus.ok("plan", "--gpus", "1", "--json"))
    assert {step["env"]["CUDA_VISIBLE_DEVICES"] for step in plan["steps"]} == {"0"}


def test_several_runs_are_named_where_one_is_asked_for(two_gpus: Space) -> None:
    long = {"MAX_TRAIN_EPOCHS": "20000", "SAVE_EVERY_N_EPOCHS": "5000"}
    told = json.loads(two_gpus.ok("train", "--gpus", "each", "--detach", "--json", **long))
    ids = [run["run"] for run in told["runs"]]
    try:
        code, message = two_gpus.refused("stop")
        assert code == 2 and all(name in message for name in ids) and "--all" in message
        status = json.loads(two_gpus.ok("status", "--json"))
        assert [run["id"] for run in status["runs"]] == ids
        code, message = two_gpus.refused("train", "--gpus", "1", OUTPUT_NAME="other")
        assert code == 2 and "still running on GPU 0" in message
        two_gpus.ok("stop", "--run", ids[0])
        assert two_gpus.status()["id"] == ids[1]
    finally:
        two_gpus.run("stop", "--all")
    assert [RunFolder(two_gpus.root / "runs" / name).load().state.value for name in ids] == ["stopped"] * 2


def test_the_queue_does_one_job_after_another_and_reports_each(space: Space) -> None:
    broken = job_file(space, "broken")
    broken.write_text(broken.read_text() + 'dit_path = "no.safetensors"\n')
    space.ok("queue", "add", broken)
    space.ok("queue", "add", job_file(space, "good"), "--name", "better")
    (space.root / "good.toml").write_text("output_name = 5")  # edited after it was added: no matter
    code, message = space.refused("queue", "add", job_file(space, "better"))
    assert code == 2 and "has the OUTPUT_NAME better already" in message

    done = space.run("queue", "run")
    assert done.returncode == 2, done.stdout + done.stderr
    report = done.stdout.strip().splitlines()[-2:]
    assert [line.split()[:3] for line in report] == [
        ["0001", "failed", "broken."],
        ["0002", "done", "better"],
    ]
    assert "no.safetensors" in report[0]
    run = trainings(space)["better"].load()
    jobs = json.loads(space.ok("queue", "list", "--json"))["jobs"]
    assert jobs[1]["runs"] == [run.id] and (space.output / "better.safetensors").exists()
    code, message = space.refused("queue", "add", job_file(space, "better"))
    assert code == 2 and "is there already" in message
    assert f"{run.id} did this very job already" in space.ok("run", space.root / "better.toml", "--continue")
    space.ok("queue", "remove", "--ended")
    assert "empty" in space.ok("queue", "list")
