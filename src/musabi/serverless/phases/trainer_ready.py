"""Makes sure that a job's trainer is on this machine: in the image, in the root, or set up where that is allowed."""

import sys

from musabi.children import run
from musabi.errors import MachineError
from musabi.serverless.context import Context
from musabi.serverless.trainers import checkout_of, is_ready, link_from_image, unlink_from_image

NAMES = {"musubi": "musubi-tuner", "diffusion_pipe": "diffusion-pipe"}
HOLDERS = {"musubi": "serverless", "diffusion_pipe": "serverless-diffusion-pipe"}
"""Which target of docker-bake.hcl holds an engine's trainer."""


def require_trainer(context: Context) -> None:
    """Refuse a job before anything is fetched for it where its trainer is not here and none may be installed.

    Raises:
        MachineError: as said.
    """
    _require(context, context.choice.engine, context.choice.title)


def make_trainer_ready(context: Context) -> None:
    """Set the trainer up where it is not there, once a volume or, without one, once a machine.

    Raises:
        MachineError: it could not be set up, or may not be.
        Cancelled: the job was asked to end.
    """
    _make_ready(context, context.choice.engine, context.choice.title)


def make_captioner_ready(context: Context) -> None:
    """Set up musubi-tuner's environment, in which captions are made, as `make_trainer_ready` does a trainer's."""
    _make_ready(context, "musubi", "Captioning")


def _require(context: Context, engine: str, what: str) -> None:
    link_from_image(context.places)
    if is_ready(engine, checkout_of(engine, context.places)) or context.settings.endpoint_install_trainers:
        return
    raise MachineError(
        f"{what} needs {NAMES[engine]}, which this worker does not have, and it installs nothing while you pay. "
        f"Use an image of the target {HOLDERS[engine]}, or set ENDPOINT_INSTALL_TRAINERS=1 on the endpoint."
    )


def _make_ready(context: Context, engine: str, what: str) -> None:
    _require(context, engine, what)
    checkout = checkout_of(engine, context.places)
    if is_ready(engine, checkout):
        return
    unlink_from_image(engine, context.places)
    context.tell("models", "Setting up the trainer")
    argv = [sys.executable, "-P", "-m", "musabi", "bootstrap", "--engine", engine, "--no-weights"]
    outcome = run(argv, bootstrap_environment(context), log=context.say, cancel=context.stop)
    if not outcome.done or not is_ready(engine, checkout):
        said = [line for line in outcome.tail if line.strip()]
        raise MachineError(
            f"The trainer could not be set up on this worker: {said[-1] if said else 'no reason'}"
        )


def bootstrap_environment(context: Context) -> dict[str, str]:
    """Return the bootstrap's environment. On a network volume the trainer's environment lies there, Python included,
    so that a fresh worker has it, too; else where the machine's own setting says."""
    places = context.places
    given = dict(context.environ) | {"WORKSPACE": str(places.root), "HF_HOME": str(places.hf_home)}
    if places.volume is None:
        return given
    return given | {
        "MUSABI_STATE_DIR": str(places.trainers),
        "UV_PYTHON_INSTALL_DIR": str(places.trainers / "python"),
    }
