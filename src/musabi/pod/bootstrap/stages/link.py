"""The environment's link in the checkout: made anew for each container, since it leads to that one's disk."""

import uuid
from pathlib import Path
from typing import Any

from musabi.pod.bootstrap.stage import Context, Facts, Proof, Stage, Work


def _place(context: Context) -> Path:
    return context.options.space.checkout / ".venv"


def _depends_on(context: Context) -> Any:  # noqa: ANN401 - any JSON value
    return {"link": str(_place(context)), "venv": str(context.options.venv)}


def _leads_there(context: Context, _facts: Facts) -> Proof:
    return Proof(_place(context).resolve() == context.options.venv.resolve())


def _link(work: Work) -> Facts:
    """Link the environment into the checkout, where people and scripts look for it."""
    link = _place(work.context)
    if link.is_dir() and not link.is_symlink():
        aside = link.with_name(f".venv.kept-{uuid.uuid4().hex[:8]}")
        link.rename(aside)
        work.say(f"an environment lay in the checkout; it was kept as {aside.name}")
    part = link.with_name(".venv.part")
    part.unlink(missing_ok=True)
    part.symlink_to(work.options.venv)
    part.replace(link)
    return {}


LINK = Stage("link", ("environment",), "volume", _depends_on, _leads_there, _link)
