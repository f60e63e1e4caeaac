"""The engines by name. A name is enough to load one; none of them imports torch."""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from musabi.errors import RequestError
from musabi.job.engine import Engine
from musabi.job.facts import TrainerFacts
from musabi.recipes import Recipe
from musabi.settings import Settings

EMBEDDED_PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "prodigyopt",
    "bitsandbytes",
    "tensorboard",
)

ENGINES = {
    "musubi": ("musabi.engines.musubi.engine", "MusubiEngine"),
    "diffusers": ("musabi.engines.diffusers.engine", "DiffusersEngine"),
}


ENGINE_MODELS = {"diffusers": ("z-image",)}
"""The models of an engine that does not train every one that there is a recipe for."""


def engine(name: str) -> Engine:
    """Return the engine of that name (a key of ENGINES)."""
    module, kind = ENGINES[name]
    made: Engine = getattr(import_module(module), kind)()
    return made


def require_model(name: str, recipe: Recipe) -> None:
    """Raise a RequestError where the engine does not train this model at all."""
    if recipe.name not in ENGINE_MODELS.get(name, (recipe.name,)):
        raise RequestError(
            f"The {name} engine trains {', '.join(ENGINE_MODELS[name])} only. For {recipe.name}, set ENGINE=musubi."
        )


def trainer_facts(name: str, settings: Settings, recipe: Recipe) -> TrainerFacts:
    """Return the environment that the engine's commands run in, for a model.

    Raises:
        MachineError: it is not there; the message names the mend.
    """
    if name == "musubi":
        from musabi.engines.musubi.environment import trainer_facts as musubi_facts

        return musubi_facts(settings.space.checkout, settings.hf_home, recipe, settings.space.state)
    return TrainerFacts(python=Path(sys.executable), packages=installed(EMBEDDED_PACKAGES))


def installed(names: tuple[str, ...]) -> frozenset[str]:
    """Return those of the packages that this interpreter would find, without importing them."""
    return frozenset(name for name in names if find_spec(name) is not None)
