"""How plans, facts and records are printed: for a person, or as JSON for a program."""

import json
import shlex
from typing import Any

from musabi.job.plan import Plan, Step
from musabi.job.record import RunRecord, RunState

VANISHED = (
    "Its process is gone without a word: killed, out of memory, or with a full disk. Its log may say more "
    "(musabi logs). Start it again; a training goes on with --resume."
)


def say(text: str) -> None:
    """Print a line for a person, at once."""
    print(text, flush=True)


def say_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print one JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str), flush=True)


def plan_as_text(plan: Plan, *, commands: bool = True) -> str:
    """Return the plan in words: the choices with their reasons, then each step's command line."""
    width = max((len(choice.setting) for choice in plan.choices), default=0)
    lines = [
        f"  {choice.setting:<{width}}  {choice.value}  ({choice.why})" if choice.why else
        f"  {choice.setting:<{width}}  {choice.value}"
        for choice in plan.choices
    ]  # fmt: skip
    if plan.disk_bytes:
        lines.append(f"  {'disk':<{width}}  about {plan.disk_bytes / 1e6:,.0f} MB will be written")
    lines += [f"Note: {warning}" for warning in plan.warnings]
    if commands:
        for step in plan.steps:
            lines += ["", step_as_text(step)]
    return "\n".join(lines)


def step_as_text(step: Step) -> str:
    """Return a step as a command line that can be pasted into a shell."""
    if step.skip is not None:
        return f"{step.title}: skipped, {step.skip}"
    environment = " ".join(f"{name}={shlex.quote(value)}" for name, value in sorted(step.env.items()))
    command = shlex.join(step.argv).replace(" --", " \\\n    --")
    where = f"  cd {shlex.quote(str(step.cwd))}\n" if step.cwd else ""
    return f"{step.title}:\n{where}  {environment} \\\n  {command}"


def record_as_text(record: RunRecord) -> str:
    """Return what came of a run, in a few lines."""
    said = record.message or (VANISHED if record.state is RunState.INTERRUPTED else None)
    lines = [f"{record.id}: {record.state.value}" + (f". {said}" if said else "")]
    for outcome in record.steps:
        spent = f", {outcome.ended - outcome.started:.0f} s" if outcome.started and outcome.ended else ""
        lines.append(f"  {outcome.title}: {outcome.state}{spent}")
    return "\n".join(lines)
