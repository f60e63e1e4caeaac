"""Steps as text, held against committed files. `MUSABI_REWRITE_PLANS=1` writes them anew."""

import os
import sys
from pathlib import Path

from musabi.job.plan import Step

PLANS = Path(__file__).parents[1] / "engines" / "musubi" / "plans"


def as_text(step: Step) -> str:
    """Write a step as a person reads it: its environment, then an argument a line."""
    lines = [f"# {step.name}: {step.title}"]
    lines += [f"{name}={value}" for name, value in sorted(step.env.items())]
    lines += [f"cd {step.cwd}"]
    for argument in ("PYTHON" if part == sys.executable else part for part in step.argv):
        if argument.startswith("--") or len(lines) == len(step.env) + 2:
            lines.append(argument)
        else:
            lines[-1] += f" {argument or repr(argument)}"
    rest = ("discard", "stamp", "skip", "total", "staging", "logs", "pictures", "epoch_offset", "step_offset")
    more = (*rest, "checkpoint_every", "state_every")
    lines += [f"# {name} = {getattr(step, name)}" for name in more if getattr(step, name) != default(name)]
    return "\n".join(lines) + "\n"


def default(name: str) -> object:
    return getattr(Step(name="train", title="", argv=()), name)


def hold(name: str, *steps: Step) -> None:
    """Compare steps with the committed plan of that name."""
    text = "\n".join(as_text(step) for step in steps)
    path = PLANS / f"{name}.txt"
    if os.environ.get("MUSABI_REWRITE_PLANS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
