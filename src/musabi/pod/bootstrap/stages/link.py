"""An environment's link in its trainer's checkout: made anew for each container, since it leads to that one's disk."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from musabi.pod.bootstrap.options import BootstrapOptions
from musabi.pod.bootstrap.stage import Context, Facts, Proof, Stage, Work

Place = Callable[[BootstrapOptions], Path]


def link_stage(name: str, environment: str, checkout: Place, venv: Place) -> Stage:
    """Return the stage that links `venv` into `checkout`, where people and scripts look for it.

    `environment` is the stage that makes the environment.
    """

    def depends_on(context: Context) -> Any:  # noqa: ANN401 - any JSON value
        return {"link": str(checkout(context.options) / ".venv"), "venv": str(venv(context.options))}

    def leads_there(context: Context, _facts: Facts) -> Proof:
        link = checkout(context.options) / ".venv"
        return Proof(link.resolve() == venv(context.options).resolve())

    def run(work: Work) -> Facts:
        _link(work, checkout(work.options) / ".venv", venv(work.options))
        return {}

    return Stage(name, (environment,), "volume", depends_on, leads_there, run)


def _link(work: Work, link: Path, venv: Path) -> None:
    """Link the environment; one that somebody else made there is kept aside."""
    if link.is_dir() and not link.is_symlink():
        aside = link.with_name(f".venv.kept-{uuid.uuid4().hex[:8]}")
        link.rename(aside)
        work.say(f"an environment lay in the checkout; it was kept as {aside.name}")
    part = link.with_name(".venv.part")
    part.unlink(missing_ok=True)
    part.symlink_to(venv)
    part.replace(link)


LINK = link_stage("link", "environment", lambda options: options.space.checkout, lambda options: options.venv)
