"""The view that starts trainings: model, settings, the plan, what goes on, the queue."""

import math
import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from starlette.routing import Route

from musabi.engines.registry import ENGINE_MODELS
from musabi.recipes import load
from musabi.recipes.overview import Row, overview
from musabi.watch.page import train_now, train_queue
from musabi.watch.page.scene import Scene
from musabi.watch.page.train_form import main_fields, more_fields, values_of
from musabi.watch.page.train_jobs import typed, write_job
from musabi.watch.page.train_plan import plan
from musabi.watch.page.view import Given, Query, Verb, View

MEMORY = "train: models"
KEEP_SECONDS = 20.0
CONTROL = {
    "one": ", each with a control image",
    "any": ", with control images",
    "each_index": ", with control images",
}
HERE = (("yes", "Files are here"), ("part", "Some files are here"), ("no", "Files must be fetched first"))


@dataclass(frozen=True)
class Model:
    """A model as the form offers it. `takes` and `fetch` are sentences; `engines` the trainers that can train it."""

    row: Row
    takes: str
    fetch: str
    licence: str
    engines: str


def models(scene: Scene) -> list[tuple[str, list[Model]]]:
    """Return the models under headings: those whose files are here first."""
    read, found = scene.memory.get(MEMORY, (-math.inf, []))
    if time.monotonic() - read > KEEP_SECONDS:
        found = overview(scene.space.models)
        scene.memory[MEMORY] = (time.monotonic(), found)
    groups = [(title, [_model(row) for row in found if row.here == state]) for state, title in HERE]
    return [group for group in groups if group[1]]


def _model(row: Row) -> Model:
    rules = load(row.name).dataset
    kinds = " or ".join(f"{kind}s" for kind in rules.takes)
    own = [engine for engine, known in ENGINE_MODELS.items() if row.name in known]
    fetch = {
        "yes": "",
        "part": f"Of its {row.disk_gb:.0f} GB of files some are not here: they are fetched when the job starts.",
        "no": f"Its files are {row.disk_gb:.0f} GB; what is missing is fetched when the job starts.",
    }[row.here]
    return Model(
        row,
        takes=f"Learns from {kinds} with captions{CONTROL.get(rules.control, '')}; makes {row.makes}s. "
        f"Needs {row.vram_gib:g} GiB of GPU memory.",
        fetch=fetch,
        licence=row.licence + (", to be accepted on the hub first" if row.gated else ""),
        engines=" ".join(["auto", "musubi", *own]),
    )


def start_words(scene: Scene, given: Given) -> list[str]:
    """Write the form's job and return the arguments that start it: the whole job, to the report."""
    values = typed(values_of(given.get("values"), scene.space.root), scene.environ)
    more = ["--overwrite"] if given.get("anew") is True else []
    return ["run", str(write_job(scene.space, values)), *more, "--detach"]


def _values(scene: Scene, _query: Query) -> dict[str, Any]:
    return {
        "models": models(scene),
        "model": scene.settings.model,
        "main": main_fields(),
        "more": more_fields(),
        "has_diffusers": find_spec("diffusers") is not None and find_spec("torch") is not None,
    }


TRAIN = View(
    "train",
    "Train",
    parts={"now": train_now.now_part, "queue": train_queue.queue_part},
    verbs={
        "train-start": Verb(
            "Start a training", start_words, done="Started. You can close the page: it goes on."
        ),
        **train_now.VERBS,
        **train_queue.VERBS,
    },
    routes=(Route("/train-plan", plan, methods=["POST"]),),
    values=_values,
)
