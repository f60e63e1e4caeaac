"""What a run that ended early saved and what it lost, in words. Pure."""

from collections.abc import Sequence

from musabi.job.plan import Plan
from musabi.job.record import RunRecord
from musabi.job.states import State

GO_ON = "Go on with: musabi train --resume"


def what_was_lost(record: RunRecord, plan: Plan, states: Sequence[State], last_step: int) -> str:
    """Name what a stop at `last_step` saved and lost, in steps. `states` are all of the run, oldest first."""
    if plan.schedule is None or last_step == 0:
        return "Stopped before training began. Nothing was lost."
    if any(step.name == "train" and step.state == "done" for step in record.steps):
        left = ", ".join(step.title for step in record.steps if step.state not in ("done", "skipped"))
        return f"The training was done, and its LoRAs are in {record.job['output_dir']}. Not done: {left}."
    return f"Stopped at step {last_step} of {plan.schedule.steps}. {newest_state(record, states, last_step)}"


def newest_state(record: RunRecord, states: Sequence[State], last_step: int) -> str:
    """Name the newest state that a run can go on from, and what is lost since then."""
    kept = [state for state in states if state.made >= record.lineage_started]
    if not kept:
        return f"No state was saved yet, so {last_step} steps are lost."
    lost = max(0, last_step - kept[-1].step)
    words = "nothing is lost" if lost == 0 else f"{lost} steps since then are lost"
    return f"The newest state is {kept[-1].path.name}; {words}. {GO_ON}"
