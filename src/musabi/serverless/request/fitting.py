"""Whether a request that is right in itself can be done: by this trainer, with this model."""

from collections.abc import Iterator, Sequence

from musabi.engines.diffusion_pipe.keys import nearest, place_of, refusal, suited
from musabi.engines.diffusion_pipe.values import WrongValueError
from musabi.engines.musubi.extra import refuse_combinations, refuse_values
from musabi.errors import RequestError
from musabi.recipes import load
from musabi.recipes.recipe import Recipe
from musabi.serverless.parts import EngineChoice
from musabi.serverless.request import optimizers
from musabi.serverless.request.allowlist import ALLOWED, INSTEAD, allowed_for, extra_mistakes, forbidden
from musabi.serverless.request.clips import lengths, trains_on_videos_alone
from musabi.serverless.request.engine_choice import TITLES, able, choose_engine
from musabi.serverless.request.fields import TrainingRequest
from musabi.serverless.request.mistakes import Mistake, Refused, shown
from musabi.serverless.request.model_types import ORIGINAL, find, of_model
from musabi.serverless.request.to_settings import train_arguments

EMBEDDED_EXTRA = ("discrete_flow_shift", "sigmoid_scale", "lr_scheduler_num_cycles")
"""Arguments of the embedded engine that a request may set under their own names (engines/diffusers/train.py)."""
PIPE_SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine")


def misfits(request: TrainingRequest, wrong: frozenset[str], known: Sequence[str]) -> Iterator[Mistake]:
    """Yield why no trainer does the request, as far as can be told by what is right of it.

    `wrong` are the paths of what is wrong in itself, for which the request has the default. Where that leaves open
    who would train it, only what every trainer of the model refuses is told. `known`: see `unfit`.
    """
    if "model_type" in wrong or find(request.model_type) is None:
        yield from _of_any_model(request)
        return
    try:
        choices: tuple[EngineChoice, ...] = (choose_engine(request),)
    except Refused as refused:
        yield from refused.mistakes
        choices = able(request)
    decides = {"engine"} if request.engine != "auto" else {"engine", "training.optimizer_type"}
    if decides & wrong:
        choices = able(request)
    first, *others = (tuple(unfit(request, choice, known, wrong)) for choice in choices)
    for mistake in first:
        if all(mistake.path in {one.path for one in other} for other in others):
            yield mistake


def unfit(
    request: TrainingRequest,
    choice: EngineChoice,
    known: Sequence[str],
    wrong: frozenset[str] = frozenset(),
) -> Iterator[Mistake]:
    """Yield why this trainer can't do the request; `known` are the names of documented parameters."""
    yield from _media(request, choice)
    yield from _optimizer(request, choice)
    if choice.engine == "diffusion_pipe":
        yield from _pipe_keys(request, choice)
        yield from _pipe_schedule(request)
        return
    recipe = load(choice.model)
    extra = request.training.extra
    if choice.engine == "diffusers":
        for name in extra:
            if name in allowed_for(recipe) and name not in EMBEDDED_EXTRA:
                said = f"training.{name} is unknown to the engine diffusers. Set engine to musubi."
                yield Mistake(f"training.{name}", said)
    refused = [_with_the_other_engine(one, request, choice) for one in extra_mistakes(extra, recipe, known)]
    yield from refused
    if choice.engine == "musubi":
        yield from _blocks(request, recipe)
        # Whether values go together shows only where all of them are right.
        if not refused and not any(path.partition(".")[0] == "training" for path in wrong):
            yield from _together(request, choice)


def _of_any_model(request: TrainingRequest) -> Iterator[Mistake]:
    """Yield what is refused whatever the model is."""
    if optimizers.find(request.training.optimizer_type) is None:
        yield _no_optimizer(request.training.optimizer_type)
    kinds = [one.pipe for one in ORIGINAL if one.pipe]
    for name in request.training.extra:
        taken = name in ALLOWED or any(place_of(name, kind) is not None for kind in kinds)
        if not taken and (why := forbidden(name)) is not None:
            yield Mistake(f"training.{shown(name, quoted=False)}", why)


def _media(request: TrainingRequest, choice: EngineChoice) -> Iterator[Mistake]:
    recipe = _recipe(choice)
    takes = recipe.dataset.takes if recipe else ("image",)
    if request.has_videos and "video" not in takes:
        said = f"{choice.title} is trained on images only. Leave dataset.videos_url out."
        yield Mistake("dataset.videos_url", said)
    if recipe is None:
        return
    if request.has_images and trains_on_videos_alone(recipe):
        said = f"{choice.title} is trained on videos only. Give dataset.videos_url, and leave images_url out."
        yield Mistake("dataset.images_url", said)
    if recipe.dataset.control in ("one", "each_index") or recipe.dataset.multiple_target:
        said = (
            f"{choice.title} needs control images or layers beside each image, which a request can't bring."
        )
        yield Mistake("model_type", f"{said} Train it on a pod, or choose another model.")
    if request.has_videos and "video" in takes and not lengths(request, recipe):
        said = "training.frame_buckets has no length for videos. Add one, such as 33."
        yield Mistake("training.frame_buckets", said)


def _recipe(choice: EngineChoice) -> Recipe | None:
    name = of_model(choice.model).recipe
    return load(name) if name else None


def _optimizer(request: TrainingRequest, choice: EngineChoice) -> Iterator[Mistake]:
    name = request.training.optimizer_type.lower()
    found = optimizers.find(name)
    path = "training.optimizer_type"
    has = {
        "musubi": found is not None and found.musubi,
        "diffusers": name in optimizers.EMBEDDED,
        "diffusion_pipe": found is not None and found.pipe is not None,
    }
    if has[choice.engine]:
        return
    if found is None:
        yield _no_optimizer(name)
        return
    others = [engine for engine, there in has.items() if there and engine != "diffusers"]
    said = f"{TITLES[choice.engine]} has no optimizer {name}; {' and '.join(others)} has it."
    yield Mistake(path, f"{said.replace('the ', 'The ', 1)} Name another, such as adamw.")


def _no_optimizer(name: str) -> Mistake:
    path = "training.optimizer_type"
    return Mistake(
        path, f"{path} must be one of {', '.join(optimizers.OPTIMIZERS)}, not {shown(name.lower())}."
    )


def _pipe_keys(request: TrainingRequest, choice: EngineChoice) -> Iterator[Mistake]:
    kind = str(of_model(choice.model).pipe)
    for name, value in request.training.extra.items():
        path = f"training.{shown(name, quoted=False)}"
        if (why := refusal(name)) is not None:
            yield Mistake(path, f"{path} can't be set by a request. {why}")
            continue
        table = place_of(name, kind)
        if table is None:
            yield Mistake(
                path, f"{path} is no parameter of {choice.title} with diffusion-pipe. {_hint(name, kind)}"
            )
            continue
        try:
            suited(table, name, value, kind)
        except WrongValueError as wrong:
            yield Mistake(path, f"training.{wrong}")


def _hint(name: str, kind: str) -> str:
    if name in INSTEAD:
        return INSTEAD[name]
    near = nearest(name, kind) if len(name) <= 64 else None
    return f"Did you mean {near}?" if near else "Leave it out."


def _pipe_schedule(request: TrainingRequest) -> Iterator[Mistake]:
    asked = request.training.lr_scheduler
    if asked is not None and asked not in PIPE_SCHEDULES:
        said = f"diffusion-pipe has no lr_scheduler {asked}. Name constant, linear or cosine."
        yield Mistake("training.lr_scheduler", said)


def _blocks(request: TrainingRequest, recipe: Recipe) -> Iterator[Mistake]:
    asked, most = request.training.blocks_to_swap, recipe.limits.max_blocks_to_swap
    if asked is not None and asked > most:
        path = "training.blocks_to_swap"
        yield Mistake(path, f"{path} must be at most {most} for {recipe.title}, not {asked}.")


def _together(request: TrainingRequest, choice: EngineChoice) -> Iterator[Mistake]:
    """Yield arguments that each are right and exclude each other."""
    if optimizers.find(request.training.optimizer_type) is None:
        return
    made = train_arguments(request, choice)
    for refuse in (refuse_values, refuse_combinations):
        try:
            refuse(made)
        except RequestError as wrong:
            yield Mistake("training", str(wrong))


def _with_the_other_engine(mistake: Mistake, request: TrainingRequest, choice: EngineChoice) -> Mistake:
    """Add to an unknown key that diffusion-pipe has it, where that can train the model."""
    kind = of_model(choice.model).pipe
    name = mistake.path.removeprefix("training.")
    if kind is None or name not in request.training.extra or place_of(name, kind) is None:
        return mistake
    if name in allowed_for(load(choice.model)):
        return mistake
    said = f"{mistake.path} is diffusion-pipe's. Set engine to diffusion_pipe, or leave it out."
    return Mistake(mistake.path, said)
