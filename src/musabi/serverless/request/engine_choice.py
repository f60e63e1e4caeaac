"""Which trainer does a request: the one that it names, else musubi-tuner where that has all that is asked for."""

from collections.abc import Iterator

from musabi.engines.diffusion_pipe.keys import place_of
from musabi.recipes import load
from musabi.serverless.parts import EngineChoice, EngineOfJob
from musabi.serverless.request import optimizers
from musabi.serverless.request.allowlist import allowed_for
from musabi.serverless.request.fields import TrainingRequest
from musabi.serverless.request.mistakes import Mistake, Refused
from musabi.serverless.request.model_types import ModelType, of_model

TITLES: dict[EngineOfJob, str] = {
    "musubi": "musubi-tuner",
    "diffusers": "the embedded engine (diffusers)",
    "diffusion_pipe": "diffusion-pipe",
}
EMBEDDED_RECIPE = "z-image"


def choose_engine(request: TrainingRequest) -> EngineChoice:
    """Return who trains what, and why.

    Raises:
        Refused: the engine that the request names does not train its model.
    """
    model = of_model(request.model_type)
    if request.engine == "auto":
        return _choice(model, *_automatic(request, model))
    if (wrong := _not_trained(request.engine, model)) is not None:
        raise Refused([Mistake("engine", wrong)])
    return _choice(model, request.engine, "The request names the engine.")


def able(request: TrainingRequest) -> tuple[EngineChoice, ...]:
    """Return every trainer that has the request's model, first the one that is taken where none is named."""
    model = of_model(request.model_type)
    first, why = _automatic(request, model)
    others = (engine for engine in TITLES if engine != first and _not_trained(engine, model) is None)
    return (_choice(model, first, why), *(_choice(model, engine, "It has the model.") for engine in others))


def only_in_diffusion_pipe(request: TrainingRequest, model: ModelType) -> Iterator[str]:
    """Yield what the request asks for that diffusion-pipe has and musubi-tuner does not, for this model."""
    if model.recipe is None or model.pipe is None:
        return
    optimizer = optimizers.find(request.training.optimizer_type)
    if optimizer is not None and not optimizer.musubi:
        yield f"optimizer_type {request.training.optimizer_type.lower()}"
    allowed = allowed_for(load(model.recipe))
    for name in request.training.extra:
        if name not in allowed and place_of(name, model.pipe) is not None:
            yield name


def _automatic(request: TrainingRequest, model: ModelType) -> tuple[EngineOfJob, str]:
    if model.recipe is None:
        return "diffusion_pipe", f"Of the engines, only diffusion-pipe trains {model.title}."
    wishes = sorted(only_in_diffusion_pipe(request, model))
    if wishes:
        return "diffusion_pipe", f"Only diffusion-pipe knows {', '.join(wishes)}."
    return "musubi", f"musubi-tuner trains {model.title} and knows all that the request asks for."


def _not_trained(engine: EngineOfJob, model: ModelType) -> str | None:
    """Return why an engine can't train a model, with the one that can; None where it can."""
    if engine == "musubi" and model.recipe is None:
        return f"musubi-tuner can't train {model.title}. Leave engine out, or set it to diffusion_pipe."
    if engine == "diffusion_pipe" and model.pipe is None:
        return f"diffusion-pipe does not train {model.title} here. Leave engine out, or set it to musubi."
    if engine == "diffusers" and model.recipe != EMBEDDED_RECIPE:
        other = "musubi" if model.recipe else "diffusion_pipe"
        return f"The engine diffusers trains z_image only, not {model.title}. Leave engine out, or set it to {other}."
    return None


def _choice(model: ModelType, engine: EngineOfJob, why: str) -> EngineChoice:
    return EngineChoice(engine, model.model, model.title, why)
