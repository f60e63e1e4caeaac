"""The settings that a notebook chose: over the environment's, for this kernel."""

import os
from html import escape

from musabi.children import is_secret_name
from musabi.commands.gather import gather
from musabi.engines.registry import engine
from musabi.errors import MusabiError, RequestError
from musabi.job.plan import Plan
from musabi.job.planner import plan_training
from musabi.notebook.output import head, show, table
from musabi.notebook.plain import cell
from musabi.recipes import make_job
from musabi.settings import Settings, load
from musabi.watch.status_html import styled

_CHOSEN: dict[str, str] = {}


def settings() -> Settings:
    """Return the settings: the environment's, over them those chosen here.

    Raises:
        RequestError: a value can't be right.
    """
    return load(environment())


def environment() -> dict[str, str]:
    """Return the environment that a verb is started in."""
    return os.environ | _CHOSEN


@cell
def choose(optimizer: str = "prodigy", **values: object) -> None:
    """Take settings by their names in the README's table, check them, and show what a training would do.

    Each call starts from the pod's own settings: what is left out has the pod's value again.

    Example: musabi.choose(OUTPUT_NAME="robot_v1", NETWORK_DIM=16)
    """
    given = {name: _as_text(name, value) for name, value in values.items() if value is not None}
    found = load(os.environ | given)
    _CHOSEN.clear()
    _CHOSEN.update(given)
    rows = [
        (name, str(getattr(found, name.lower()))) for name in given or ("OUTPUT_NAME", "OUTPUT_DIR", "ENGINE")
    ]
    show(styled(head("Settings") + table(rows), _plan_or_why_not(found, optimizer)))


def _as_text(name: str, value: object) -> str:
    if name != name.upper() or name.lower() not in Settings.model_fields:
        from difflib import get_close_matches

        near = get_close_matches(name.upper(), [field.upper() for field in Settings.model_fields], 1)
        said = f" Did you mean {near[0]}?" if near else " The README's table has their names."
        raise RequestError(f"There is no setting {name}.{said}")
    if is_secret_name(name):
        raise RequestError(
            f"{name} is a secret, and a notebook is a file that others may read. Set it in the pod's "
            "environment (Runpod: Edit Pod, Environment Variables)."
        )
    return str(int(value)) if isinstance(value, bool) else str(value)


def _plan_or_why_not(found: Settings, optimizer: str) -> str:
    """Return what a training would do and why, or what a plan still lacks, as HTML."""
    job = make_job(found, optimizer)
    try:
        trainer = engine(job.engine)
        plan = plan_training(job, gather(found, job), trainer)
    except MusabiError as lacking:
        return head("Plan") + f'<p class="soft">It can be worked out later. {escape(str(lacking))}</p>'
    return head("Plan") + _plan(plan)


def _plan(plan: Plan) -> str:
    rows = [
        (choice.setting, f"{choice.value} ({choice.why})" if choice.why else choice.value)
        for choice in plan.choices
    ]
    if plan.disk_bytes:
        rows.append(("disk", f"about {plan.disk_bytes / 1e6:,.0f} MB will be written"))
    notes = "".join(f'<p class="notice">{escape(warning)}</p>' for warning in plan.warnings)
    return table(rows) + notes
