"""Captions by a model, from the Dataset page: the form that starts it, and why this machine can't."""

from collections.abc import Mapping

from musabi.captioning.interpreter import captioning_python
from musabi.captioning.models import BY_NAME, MODELS
from musabi.errors import MachineError, RequestError
from musabi.hub.listing import gigabytes
from musabi.machine import machine_facts
from musabi.watch.page.behind import kept
from musabi.watch.page.dataset_place import dataset_folders
from musabi.watch.page.html import render
from musabi.watch.page.scene import Scene
from musabi.watch.page.view import Given, Query, Verb

GPUS = "gpus"
MOST_LETTERS = 60


def why_no_captions(scene: Scene) -> str:
    """Return why this machine can't write captions, "" where it can."""
    if not kept(scene.memory, GPUS, lambda: machine_facts().gpus):
        return (
            "No GPU can be used here, and without one a caption takes minutes. Write captions by hand below."
        )
    try:
        captioning_python(scene.settings)
    except MachineError as problem:
        return str(problem)
    return ""


def caption_words(scene: Scene, given: Given) -> list[str]:
    """Return the arguments of `musabi caption`.

    Raises:
        RequestError: there is no such model, or the trigger word can't be one.
        MachineError: this machine can't.
    """
    if problem := why_no_captions(scene):
        raise MachineError(problem)
    model = str(given.get("model", ""))
    if model not in BY_NAME:
        raise RequestError("Choose a captioning model.")
    trigger = str(given.get("trigger") or "").strip()
    if len(trigger) > MOST_LETTERS or not trigger.isprintable() or trigger.startswith("-"):
        raise RequestError("A trigger word is a short word, such as ohwx.")
    words = ["caption", "--with", model, "--yes"]
    words += ["--trigger", trigger] if trigger else []
    words += ["--fetch"] if given.get("fetch") else []
    return words + (["--overwrite"] if given.get("overwrite") else [])


def part(scene: Scene, _query: Query) -> str:
    """Return the form that starts captioning. It stays as it is while the machine does."""
    if all(folder.jsonl is not None for folder in dataset_folders(scene)):
        return ""
    models = [
        {"name": one.name, "title": one.title, "size": gigabytes(one.size), "vram": f"{one.vram_gib:g} GB"}
        for one in MODELS
    ]
    chosen = scene.settings.caption_with or MODELS[0].name
    return render(
        "dataset_caption",
        {
            "models": models,
            "chosen": chosen,
            "trigger": scene.settings.trigger_word or "",
            "problem": why_no_captions(scene),
        },
    )


VERBS: Mapping[str, Verb] = {
    "caption": Verb("Write captions", caption_words, long=True, done="The captions are written.")
}
