"""The files of an earlier run: moved aside, or named for their epoch, with their converted twins."""

from pathlib import Path

import pytest

from musabi.commands.running import make_way, number_final
from musabi.job.model import Job
from musabi.job.new_run import new_record
from musabi.job.plan import Plan, Schedule
from musabi.job.record import RunState

TIMING = Schedule(
    steps_per_epoch=4, epochs=3, steps=12, warmup_steps=0, save_every=1, state_every=1, sample_every=None
)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    names = ("output_dir", "logging_dir", "dataset_config", "sample_prompts")
    weights = {role: tmp_path / role for role in ("dit", "vae", "text_encoder")}
    paths = {name: tmp_path / name for name in names}
    (tmp_path / "output_dir" / "comfyui").mkdir(parents=True)
    return Job.model_validate({"output_name": "a", "weights": weights} | paths)


def test_several_runs_in_a_second_each_move_their_older_files_aside(job: Job) -> None:
    for number in range(4):
        (job.output_dir / "a.safetensors").write_text(str(number))
        make_way(job, overwrite=True)
    kept = (job.output_dir / "replaced").rglob("a.safetensors")
    assert sorted(path.read_text() for path in kept) == ["0", "1", "2", "3"]


def test_the_last_lora_and_its_converted_twin_get_their_epoch_when_trained_on(job: Job) -> None:
    final, twin = job.output_dir / "a.safetensors", job.output_dir / "comfyui" / "a.safetensors"
    for path in (final, twin):
        path.write_text("old")
    earlier = new_record("a-1", job, Plan(steps=(), schedule=TIMING))
    earlier.state = RunState.DONE
    number_final(job, earlier)
    for path in (final, twin):
        assert not path.exists() and path.with_name("a-000003.safetensors").read_text() == "old"
