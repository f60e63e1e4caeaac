"""The record of a run that has not started."""

from musabi.identity import identity
from musabi.job.model import Job
from musabi.job.plan import Plan, Step, plan_as_json
from musabi.job.record import Leg, RunRecord, StepOutcome


def outcome_of(step: Step) -> StepOutcome:
    """Return the outcome that a step has before it ran."""
    return StepOutcome(name=step.name, title=step.title, argv=list(step.argv))


def new_record(run_id: str, job: Job, plan: Plan, **more: object) -> RunRecord:
    """Return the record of a run that has not started."""
    values = {"job": job.model_dump(mode="json"), "plan": plan_as_json(plan)}
    record = RunRecord.model_validate({"id": run_id, "container": identity()} | values | more)
    if plan.schedule is not None:
        timing = plan.schedule
        record.legs.append(
            Leg(
                started=record.created,
                epochs=timing.epochs,
                steps=timing.steps,
                steps_per_epoch=timing.steps_per_epoch,
                ahead=_ahead(plan, record),
            )
        )
    return record


def _ahead(plan: Plan, record: RunRecord) -> int:
    """Return the steps that a resumed trainer has done beyond whole epochs of the leg before."""
    for step in plan.steps:
        if step.step_offset and record.legs:
            return step.step_offset - step.epoch_offset * record.legs[-1].steps_per_epoch
    return 0
