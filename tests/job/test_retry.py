"""What is tried next where the GPU's memory ran out, worked out before the run starts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from musabi.errors import RequestError
from musabi.job import retry
from musabi.job.engine import Failure
from musabi.job.facts import CacheFacts, DatasetFacts, Facts, MachineFacts, TrainerFacts
from musabi.job.model import Job
from musabi.job.plan import Fallback, Plan, ResumePoint, Schedule, Step, plan_as_json, plan_from_json
from musabi.job.planner import plan_training

MakeJob = Callable[..., Job]
MEMORY = Failure("The GPU's memory ran out.", kind="memory")
FRESH = CacheFacts(expected=6)
FACTS = Facts(
    MachineFacts(),
    DatasetFacts(images=6, batches_per_epoch=4, latents=FRESH, text=FRESH),
    TrainerFacts(Path("p")),
)


def test_a_plan_holds_ever_easier_ways_to_train(make_job: MakeJob, stand_in: type) -> None:
    plan = plan_training(make_job(), FACTS, stand_in())
    assert [fallback.words for fallback in plan.fallbacks] == [f"BLOCKS_TO_SWAP={n}" for n in (8, 16, 24)]
    assert [fallback.argv[-1] for fallback in plan.fallbacks] == ["8", "16", "24"]
    assert plan_from_json(plan_as_json(plan)) == plan


def test_settings_that_were_changed_before_are_said_too(make_job: MakeJob, stand_in: type) -> None:
    """Each way names all that differs from what was asked for, not only the last change."""
    told = iter(("DIT_PRECISION=fp8", "BLOCKS_TO_SWAP=7", "BLOCKS_TO_SWAP=14", "A=1", "B=1"))
    engine = stand_in()
    engine.easier = lambda job, facts, plan: (job, next(told))
    plan = plan_training(make_job(), FACTS, engine)
    assert [fallback.words for fallback in plan.fallbacks] == [
        "DIT_PRECISION=fp8",
        "DIT_PRECISION=fp8 BLOCKS_TO_SWAP=7",
        "DIT_PRECISION=fp8 BLOCKS_TO_SWAP=14",
        "DIT_PRECISION=fp8 BLOCKS_TO_SWAP=14 A=1",
    ]


def test_a_way_that_the_model_does_not_take_ends_the_list(make_job: MakeJob, stand_in: type) -> None:
    class Choosy(stand_in):  # type: ignore[misc]
        def train_step(self, job: Job, facts: Facts, schedule: Schedule, resume: ResumePoint | None) -> Step:
            if job.blocks_to_swap == 16:
                raise RequestError("too many")
            made: Step = super().train_step(job, facts, schedule, resume)
            return made

    assert len(plan_training(make_job(), FACTS, Choosy()).fallbacks) == 1
    assert retry.fallbacks(make_job(), FACTS, Choosy(), Plan(())) == ()


def test_only_want_of_memory_at_the_first_steps_is_tried_again() -> None:
    train = Step("train", "Train", ("a",))
    assert retry.helps(MEMORY, train, 0)
    assert not retry.helps(MEMORY, train, 1)
    assert not retry.helps(MEMORY, replace(train, name="cache-latents"), 0)
    assert not retry.helps(Failure("no"), train, 0)


def test_the_advice_names_the_settings_and_keeps_the_exit_code() -> None:
    failure = retry.with_advice(MEMORY, Fallback("BLOCKS_TO_SWAP=8", ("b",)))
    assert "Start again with BLOCKS_TO_SWAP=8" in failure.message and "AUTO_RETRY=1" in failure.message
    assert (failure.exit_code, failure.kind) == (MEMORY.exit_code, "memory")
