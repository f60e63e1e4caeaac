"""The trainers that jobs share: in the endpoint's root, or in the image, which the root's links then lead to."""

import contextlib
import uuid
from pathlib import Path

from musabi.engines.diffusion_pipe.trainer import FACTS_NAME as PIPE_FACTS
from musabi.engines.diffusion_pipe.trainer import find_trainer
from musabi.engines.musubi.environment import FACTS_NAME as MUSUBI_FACTS
from musabi.engines.musubi.environment import is_made
from musabi.errors import MachineError
from musabi.pod.bootstrap.options import BootstrapOptions
from musabi.pod.bootstrap.stages.clone import OWN_COMMIT
from musabi.serverless.places import Places
from musabi.whole import read_json

IN_IMAGE: dict[str, Path] = {
    "musubi": BootstrapOptions.baked_checkout,
    "diffusion_pipe": Path("/opt/musabi/diffusion-pipe"),
}
"""Where an image has the checkout of an engine's trainer, with its environment in .venv (scripts/image/trainer.sh)."""
FACTS = {"musubi": MUSUBI_FACTS, "diffusion_pipe": PIPE_FACTS}


def checkout_of(engine: str, places: Places) -> Path:
    """Return where an engine's trainer lies for all jobs."""
    return places.diffusion_pipe if engine == "diffusion_pipe" else places.checkout


def is_ready(engine: str, checkout: Path) -> bool:
    """Tell whether a checkout and its environment are there. The embedded engine needs neither."""
    if engine == "diffusers":
        return True
    if engine == "musubi":
        return is_made(checkout)
    try:
        find_trainer(checkout)
    except MachineError:
        return False
    return True


def is_in_image(engine: str) -> bool:
    """Tell whether the image has an engine's trainer, and its environment is still the one made for that checkout.

    A pod that asks for another MUSUBI_REF makes the environment anew in the same place.
    """
    checkout = IN_IMAGE[engine]
    if not is_ready(engine, checkout):
        return False
    known = read_json(checkout / ".venv" / FACTS[engine])
    try:
        commit = (checkout / OWN_COMMIT).read_text(encoding="utf-8").strip()
    except OSError:
        return False
    return isinstance(known, dict) and known.get("commit") == commit


def link_from_image(places: Places) -> None:
    """Let the root lead to the trainers that the image has: nothing is copied, fetched or started.

    What lies in the root is left as it is. Captions are made in musubi-tuner's environment, so every
    trainer is linked, whatever the job's engine.
    """
    for engine, baked in IN_IMAGE.items():
        link = checkout_of(engine, places)
        if link.exists() or not is_in_image(engine):
            continue
        link.parent.mkdir(parents=True, exist_ok=True)
        part = link.with_name(f".{link.name}.{uuid.uuid4().hex[:8]}.part")
        part.symlink_to(baked)
        part.replace(link)


def unlink_from_image(engine: str, places: Places) -> None:
    """Remove a link to the image's trainer, which is not there, so that one can be made in its place."""
    link = checkout_of(engine, places)
    if link.is_symlink() and link.readlink() == IN_IMAGE[engine]:
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
