"""What a person can do next, worked out from how the pod stands."""

from collections.abc import Callable, Mapping
from typing import Any

Values = Mapping[str, Any]


def next_step(values: Values) -> str:
    """Return one or two sentences; `values` are those of `musabi.watch.status`."""
    return next(text for _, applies, text in STEPS if applies(values))


def next_name(values: Values) -> str:
    """Return the name of that step, for who says it in other words."""
    return next(name for name, applies, _ in STEPS if applies(values))


def _bootstrap(values: Values) -> str | None:
    return (values.get("bootstrap") or {}).get("state")


def _run(values: Values) -> str | None:
    return (values.get("run") or {}).get("state")


def _trained(values: Values) -> bool:
    return bool((values.get("run") or {}).get("trains"))


# The first row that applies counts.
STEPS: tuple[tuple[str, Callable[[Values], bool], str], ...] = (
    (
        "stop",
        lambda values: bool(values.get("stop")),
        "To keep the pod, run musabi pod keep in a terminal, or musabi.keep() in the notebook.",
    ),
    (
        "running",
        lambda values: _run(values) in ("planned", "running"),
        "Nothing. You can close every tab: the run goes on. To end it, run musabi stop in a terminal, or "
        "interrupt the notebook's cell and run musabi.stop_run().",
    ),
    (
        "bootstrap failed",
        lambda values: _bootstrap(values) in ("failed", "interrupted"),
        "Do what the bootstrap's message asks for, then run musabi bootstrap in a terminal. What is done "
        "stays done.",
    ),
    (
        "run failed",
        lambda values: _run(values) == "failed",
        "Do what the run's message asks for, then run the notebook's training cell again.",
    ),
    (
        "run stopped",
        lambda values: _run(values) in ("stopped", "interrupted") and _trained(values),
        "Run the notebook's training cell again: it goes on from the newest saved state.",
    ),
    (
        "run done",
        lambda values: _run(values) == "done" and _trained(values),
        "Look at the samples, take the LoRA from output/, and stop the pod when you are done.",
    ),
    (
        "no bootstrap",
        lambda values: _bootstrap(values) is None,
        "Run musabi bootstrap in a terminal to set the workspace up.",
    ),
    (
        "no images",
        lambda values: not values.get("images"),
        "Upload your images with their captions to dataset/images, or a zip of them: the notebook shows how.",
    ),
    (
        "bootstrap running",
        lambda values: _bootstrap(values) == "running",
        "Check your dataset in the notebook. A training that you start now waits for what it needs.",
    ),
    (
        "ready",
        lambda values: True,
        "Run the cells of notebooks/00_musubi_tuner_runpod.ipynb from the top.",
    ),
)
