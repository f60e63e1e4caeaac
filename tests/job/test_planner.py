"""Plans: which steps, in which order, and what stops a plan from being made."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from musabi.errors import MachineError, RequestError
from musabi.job.facts import CacheFacts, DatasetFacts, Facts, MachineFacts, TrainerFacts
from musabi.job.model import Caching, Job
from musabi.job.plan import ResumePoint
from musabi.job.planner import checkpoint_names, disk_bytes, plan_training, plan_whole
from musabi.job.schedule import schedule

MakeJob = Callable[..., Job]
FRESH = CacheFacts(expected=6)
MISSING = CacheFacts(expected=6, missing=6)


def facts(latents: CacheFacts = FRESH, text: CacheFacts = FRESH) -> Facts:
    dataset = DatasetFacts(images=6, batches_per_epoch=4, latents=latents, text=text)
    return Facts(MachineFacts(), dataset, TrainerFacts(Path("python")), lora_parameters=1000)


def test_training_caches_first_and_only_what_is_needed(make_job: MakeJob, stand_in: type) -> None:
    plan = plan_training(make_job(), facts(latents=MISSING), stand_in())
    assert [(step.name, step.skip) for step in plan.steps] == [
        ("cache-latents", None),
        ("cache-text", "fresh"),
        ("train", None),
    ]
    assert any(choice.value == "make" and "6 of 6" in choice.why for choice in plan.choices)


def test_training_never_starts_on_a_stale_cache_that_may_not_be_renewed(
    make_job: MakeJob, stand_in: type
) -> None:
    stale = CacheFacts(expected=6, stale=(Path("old"),))
    with pytest.raises(RequestError, match="RUN_TEXT_ENCODER_CACHE=0 forbids renewing it"):
        plan_training(make_job(caching=Caching(run_text=False)), facts(text=stale), stand_in())


def test_a_refusal_of_the_engine_stops_the_plan(make_job: MakeJob, stand_in: type) -> None:
    with pytest.raises(MachineError, match="no environment"):
        plan_training(make_job(), facts(), stand_in(refused=MachineError("no environment")))


def test_a_finished_state_is_not_resumed(make_job: MakeJob, stand_in: type) -> None:
    point = ResumePoint(Path("demo-state"), epoch=3, step=12)
    with pytest.raises(RequestError, match="already at step 12 of 12"):
        plan_training(make_job(max_train_epochs=3), facts(), stand_in(), point)


def test_a_whole_job_converts_every_checkpoint_and_samples_with_the_last(
    make_job: MakeJob, stand_in: type, tmp_path: Path
) -> None:
    plan = plan_whole(make_job(max_train_epochs=3, save_every_n_epochs=2), facts(), stand_in())
    assert [step.name for step in plan.steps[2:]] == ["train", "convert", "convert", "sample"]
    outputs = [step.output[1] for step in plan.steps if step.output]
    folder = tmp_path / "output_dir" / "comfyui"
    assert outputs == [folder / "demo-000002.safetensors", folder / "demo.safetensors"]


def test_several_gpus_share_the_batches_of_an_epoch(make_job: MakeJob, stand_in: type) -> None:
    three = replace(facts(), machine=MachineFacts(gpus=(1, 1, 1)))
    timing = plan_training(make_job(max_train_epochs=2), three, stand_in()).schedule
    assert timing is not None and (timing.steps_per_epoch, timing.steps) == (2, 4)


def test_the_last_epoch_has_no_number(make_job: MakeJob) -> None:
    job = make_job(max_train_epochs=4, save_every_n_epochs=2)
    names = checkpoint_names(job, schedule(job, 5)[0])
    assert names == ("demo-000002.safetensors", "demo.safetensors")


def test_disk_need_counts_checkpoints_their_copies_and_the_states_that_are_kept(make_job: MakeJob) -> None:
    job = make_job(max_train_epochs=10, save_every_n_epochs=1, optimizer="adamw", keep_last_states=2)
    timing, _ = schedule(job, 5)
    assert disk_bytes(job, timing, 1000) == 11 * 2 * 1000 * 2 + 3 * 1000 * 12
