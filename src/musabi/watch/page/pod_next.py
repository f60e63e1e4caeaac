"""What to do next, in the words of the page: which button, which page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from musabi.watch.next_step import next_name


@dataclass(frozen=True)
class Next:
    """A sentence or two, and the page that they lead to."""

    text: str
    link: str = ""
    title: str = ""


def next_on_page(values: Mapping[str, Any]) -> Next:
    """Return what to do next; `values` are those of `Status.look`."""
    return WORDS[next_name(values)]


WORDS = {
    "stop": Next("The pod is about to end. Press Keep the pod if you still need it."),
    "running": Next("Nothing. You can close every tab: the run goes on.", "runs", "Watch the run"),
    "bootstrap failed": Next(
        "Do what the bootstrap's message below asks for, then run it again. What is done stays done.",
        "#bootstrap",
        "See the bootstrap",
    ),
    "run failed": Next("Do what the run's message asks for, then start it again.", "train", "Open Train"),
    "run stopped": Next("Press Resume: it goes on from the newest saved state.", "train", "Open Train"),
    "run done": Next(
        "Look at the samples, download the LoRA, and stop the pod when you are done.",
        "runs",
        "Look at the run",
    ),
    "no bootstrap": Next("Set the workspace up first.", "#bootstrap", "See the bootstrap"),
    "no images": Next("Add your images with their captions.", "dataset", "Open Dataset"),
    "bootstrap running": Next(
        "Check your dataset meanwhile. A training that you start now waits for what it needs.",
        "dataset",
        "Open Dataset",
    ),
    "ready": Next("Start a training.", "train", "Open Train"),
}
