"""Which state a run goes on from, and what is left of a job that was killed at its very end."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from musabi.commands.resuming import newest_state, newest_training
from musabi.job.model import Job
from musabi.job.new_run import new_record
from musabi.job.plan import Plan, Schedule
from musabi.job.record import RunFolder, RunRecord, newest_run

EMPTY_SAFETENSORS = (2).to_bytes(8, "little") + b"{}"
TIMING = Schedule(
    steps_per_epoch=4, epochs=3, steps=12, warmup_steps=0, save_every=1, state_every=1, sample_every=None
)
ANY: Any = SimpleNamespace(state_is_whole=lambda folder: True)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    names = ("output_dir", "logging_dir", "dataset_config", "sample_prompts")
    weights = {role: tmp_path / role for role in ("dit", "vae", "text_encoder")}
    paths = {name: tmp_path / name for name in names}
    return Job.model_validate({"output_name": "a", "weights": weights} | paths)


@pytest.fixture
def record(job: Job) -> RunRecord:
    """A run of three epochs that left a state after the second and one at the end."""
    made = new_record("a-1", job, Plan(steps=(), schedule=TIMING))
    for number, name in enumerate(("a-000002-state", "a-state"), start=1):
        (job.output_dir / name).mkdir(parents=True)
        moment = made.created + number
        os.utime(job.output_dir / name, (moment, moment))
    return made


@pytest.mark.parametrize("lora", ["a.safetensors", "a-000003.safetensors"])
def test_the_state_at_the_end_counts_where_its_lora_is_there(job: Job, record: RunRecord, lora: str) -> None:
    (job.output_dir / lora).write_bytes(EMPTY_SAFETENSORS)
    point = newest_state(job, ANY, record)
    assert point is not None and (point.state.name, point.step) == ("a-state", 12)


def test_a_run_killed_before_its_last_lora_goes_on_from_the_state_before(job: Job, record: RunRecord) -> None:
    point = newest_state(job, ANY, record)
    assert point is not None and (point.state.name, point.step) == ("a-000002-state", 8)


@pytest.mark.parametrize("text", ['{"created": 9e9}', '{"created": "never"}', "directory"])
def test_a_run_whose_record_is_odd_is_no_run_to_go_on_with(
    record: RunRecord, tmp_path: Path, text: str
) -> None:
    whole, odd = RunFolder(tmp_path / "runs" / "a-1"), RunFolder(tmp_path / "runs" / "odd")
    for run in (whole, odd):
        run.path.mkdir(parents=True)
    whole.save(record)
    odd.record_file.mkdir() if text == "directory" else odd.record_file.write_text(text)
    for found in (newest_training(tmp_path / "runs", "a"), newest_run(tmp_path / "runs")):
        assert found is not None and found.path == whole.path
