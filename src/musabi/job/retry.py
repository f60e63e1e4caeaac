"""Trying the training again with settings that take less of the GPU's memory: what to try, and when. Pure."""

from dataclasses import replace

from musabi.errors import MusabiError
from musabi.job.engine import Engine, Failure
from musabi.job.facts import Facts
from musabi.job.model import Job
from musabi.job.plan import Fallback, Plan, Step

MOST = 4
"""How many other ways a plan holds. Each try costs the time that loading the model takes."""


def fallbacks(job: Job, facts: Facts, engine: Engine, plan: Plan) -> tuple[Fallback, ...]:
    """Return the ways to run the plan's training step with ever less GPU memory, `MOST` of them at most."""
    found: list[Fallback] = []
    if plan.schedule is None:
        return ()
    changed: list[str] = []
    while len(found) < MOST and (easier := engine.easier(job, facts, plan)) is not None:
        job, words = easier
        changed = [
            *(old for old in changed if _setting(old) not in map(_setting, words.split())),
            *words.split(),
        ]
        try:
            step = engine.train_step(job, facts, plan.schedule, plan.resume)
        except MusabiError:  # this model does not take these settings: what was found so far is all there is
            break
        found.append(Fallback(" ".join(changed), step.argv, step.env))
    return tuple(found)


def _setting(word: str) -> str:
    return word.partition("=")[0]


def helps(failure: Failure, step: Step, saves: int) -> bool:
    """Tell whether a failed training may be tried again from its start with less memory.

    Only at its first steps, that is before its first state or checkpoint (`saves` counts both): later it would
    throw training away.
    """
    return failure.kind == "memory" and step.name == "train" and saves == 0


def with_advice(failure: Failure, fallback: Fallback) -> Failure:
    """Return the failure with the settings that the next try should have."""
    said = (
        f"The GPU's memory ran out at the first steps. Start again with {fallback.words}, which takes less. "
        "With AUTO_RETRY=1 a run does that by itself."
    )
    return replace(failure, message=said)


def easier_step(step: Step, fallback: Fallback) -> Step:
    """Return the step as the fallback runs it."""
    return replace(step, argv=fallback.argv, env=fallback.env)


def what_next(fallback: Fallback, number: int, of: int) -> str:
    """Say that a try failed for want of memory, and what is tried next (`number` of `of`, from 1)."""
    return f"The GPU's memory ran out. Trying again with {fallback.words} (try {number} of {of})."
