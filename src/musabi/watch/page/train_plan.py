"""The plan of what stands in the form: `musabi train --dry-run --json` in a child, one at a time, the newest wins."""

import contextlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from musabi.children import scrub
from musabi.errors import MusabiError, RequestError
from musabi.hub.listing import free_bytes
from musabi.job.model import Job
from musabi.job.preflight import existing_outputs
from musabi.pod.doctor.disk import existing
from musabi.settings import Settings
from musabi.watch.page.behind import kept
from musabi.watch.page.html import render
from musabi.watch.page.json_body import json_of
from musabi.watch.page.scene import Scene
from musabi.watch.page.train_form import MAY_HOLD_A_KEY, command, train_words, values_of
from musabi.watch.page.train_jobs import CACHING
from musabi.watch.page.train_speed import rate_per_hour, speed_of
from musabi.watch.page.train_takes import takes

MEMORY = "train: planner"
SECONDS = 80.0
NO_PLAN = "No plan was made."
CHOICES = {
    "epochs": "max_train_epochs",
    "steps": "max_train_steps",
    "save every": "save_every_n_epochs",
    "optimizer": "optimizer",
    "model precision": "dit_precision",
    "gradient checkpointing": "gradient_checkpointing",
    "blocks swapped": "blocks_to_swap",
    "attention": "attention",
    "compile": "compile",
    "data loader workers": "data_loader_workers",
}
"""The planner's choices that are a setting's."""
OF_RECIPE = ("network_dim", "network_alpha", "learning_rate")
SHOWN_ABOVE = ("epochs", "steps")
MENDS = (
    ("the dataset config", "is not there", "pod#bootstrap", "Set the workspace up on the page Pod."),
    ("caption file", "", "dataset", "Write captions on the page Dataset."),
    ("--allow-missing-captions", "", "dataset", "Look at the dataset."),
)
"""Where on this page a refusal is mended: two parts of what it says in lower case, an address, its words."""
VARIABLE = re.compile(r"\b[A-Z][A-Z0-9_]{2,}\b")


class Planner:
    """Asks for plans, one at a time. A newer question ends the child of the one before."""

    def __init__(self) -> None:
        self._newest = 0
        self._child: subprocess.Popen[str] | None = None
        self._change = threading.Lock()
        self._turn = threading.Lock()

    def ask(self, words: list[str], environ: Mapping[str, str]) -> dict[str, Any] | None:
        """Return what `musabi WORDS` prints as JSON; None where a newer question came meanwhile.

        Raises:
            RequestError: it printed none.
        """
        with self._change:
            self._newest += 1
            mine = self._newest
            self._end()
        with self._turn:
            with self._change:
                if mine != self._newest:
                    return None
                child = self._child = _start(words, environ)
            out, err = _read(child)
            with self._change:
                self._child = None
                if mine != self._newest:
                    return None
        return _value_of(out, err)

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()


async def plan(request: Request) -> Response:
    """Answer with the plan of the values that the form holds; a refusal is an answer as well."""
    scene: Scene = request.app.state.scene
    return JSONResponse(await anyio.to_thread.run_sync(answer, scene, (await json_of(request)).get("values")))


def answer(scene: Scene, given: object) -> dict[str, Any]:
    """Return {"html", "fields", "field", "there", "ready"} of a plan, or {"late": True}: a newer one is wanted."""
    try:
        values = values_of(given, scene.space.root)
        planner = kept(scene.memory, MEMORY, Planner)
        told = {name: values[name] for name in values if name not in MAY_HOLD_A_KEY}
        untold = {name.upper(): values[name] for name in MAY_HOLD_A_KEY if name in values}
        found = planner.ask(train_words(told, "--dry-run", "--json"), dict(scene.environ) | untold)
    except MusabiError as problem:
        return refusal(str(problem), scene)
    if found is None:
        return {"late": True}
    if "error" in found:
        return refusal(str(found["error"]), scene)
    return shown(scene, values, found)


def refusal(message: str, scene: Scene) -> dict[str, Any]:
    """Return the answer for what can't be planned; `field` names the setting that is wrong, where one is."""
    text = scrub(message, scene.hidden)
    html = render(
        "train_plan",
        {"message": text, "mend": mend(text), "takes": (), "choices": (), "warnings": (), "command": ""},
    )
    return {"html": html, "message": text, "field": field_of(text), "fields": {}, "there": [], "ready": False}


def shown(scene: Scene, values: Mapping[str, str], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer for a plan."""
    made = found["runs"][0] if found.get("runs") else found
    job, machine = found.get("job") or {}, found.get("machine") or {}
    choices = [one for one in made.get("choices", ()) if one["setting"] not in SHOWN_ABOVE]
    html = render(
        "train_plan",
        {
            "message": "",
            "mend": None,
            "takes": takes(made, speed_of(scene, job, machine), _free(job, scene), rate_per_hour(scene)),
            "choices": choices,
            "warnings": made.get("warnings", ()),
            "command": command(values),
        },
    )
    return {
        "html": html,
        "message": "",
        "field": "",
        "fields": chosen(made, job, scene.environ),
        "there": there(job),
        "ready": True,
    }


def chosen(
    made: Mapping[str, Any], job: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Return by setting what holds where its field is empty, and why."""
    found: dict[str, dict[str, str]] = {}
    caching = job.get("caching") or {}
    known = {**job, **{setting: caching.get(name) for name, setting in CACHING.items()}}
    for name in Settings.model_fields:
        value = known.get(name)
        if value is None or isinstance(value, dict | list) or value == "":
            continue
        why = "what the model's recipe takes" if name in OF_RECIPE else ""
        if environ.get(name.upper(), "").strip():
            why = f"{name.upper()} in the environment"
        found[name] = {"value": _plain(value), "why": why}
    for choice in made.get("choices", ()):
        name = CHOICES.get(choice["setting"], "")
        if name:
            value = str(choice["value"]).removesuffix(" epochs")
            found[name] = {"value": value, "why": found.get(name, {}).get("why") or str(choice["why"])}
    if str(job.get("optimizer")) == "prodigy":
        found["learning_rate"] = {"value": "Prodigy's own", "why": "Prodigy finds it by itself"}
    return found


def mend(message: str) -> tuple[str, str] | None:
    """Return (address, words) of the page where what was refused is mended, or None."""
    said = message.lower()
    return next(((place, words) for one, two, place, words in MENDS if one in said and two in said), None)


def field_of(message: str) -> str:
    """Return the setting that a refusal names first, or ""; the advice behind the first sentence may name others."""
    named = [word.lower() for word in VARIABLE.findall(message)]
    if "there is no recipe for the model " in message.lower():
        return "model"
    return next((name for name in named if name in Settings.model_fields), "")


def there(job: Mapping[str, Any]) -> list[str]:
    """Return the names of the files of an earlier run that this one would replace."""
    try:
        return [path.name for path in existing_outputs(Job.model_validate(dict(job)))]
    except (ValueError, OSError):
        return []


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _free(job: Mapping[str, Any], scene: Scene) -> int | None:
    folder = Path(str(job.get("output_dir") or scene.space.output))
    with contextlib.suppress(OSError):
        return free_bytes(existing(folder))
    return None


def _start(words: list[str], environ: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "musabi", *words],
        env=dict(environ) | {"NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def _read(child: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return child.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise RequestError(
            f"{NO_PLAN} It took longer than {SECONDS:.0f} s: the disk may be slow. Try again."
        ) from None


def _value_of(out: str, err: str) -> dict[str, Any]:
    start = out.find("{")
    with contextlib.suppress(ValueError):
        value = json.loads(out[start:]) if start >= 0 else None
        if isinstance(value, dict):
            return value
    said = next((line for line in reversed(err.splitlines()) if line.strip()), "")
    raise RequestError(f"{NO_PLAN} {said.removeprefix('Error: ')}".strip())
