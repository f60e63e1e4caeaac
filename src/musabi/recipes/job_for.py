"""The job that the settings and a model's recipe describe."""

from pathlib import Path
from typing import Any, get_args

from musabi.errors import RequestError
from musabi.job.model import Caching, Job, OptimizerName
from musabi.recipes.load import load
from musabi.recipes.recipe import Recipe, Role
from musabi.settings import Settings


def make_job(settings: Settings, optimizer: str | None = None, **more: Any) -> Job:  # noqa: ANN401 - Job's own fields
    """Return the Job that the settings describe, trained with `optimizer`; `more` are fields of Job.

    What a person left open and the model decides (rank, alpha, learning rate, files) is the recipe's.

    Raises:
        RequestError: there is no such model or optimizer.
    """
    recipe = load(settings.model)
    chosen = (optimizer or settings.optimizer).lower()
    if chosen not in get_args(OptimizerName):
        raise RequestError(
            f'There is no optimizer "{optimizer}". Choose one of {", ".join(get_args(OptimizerName))}.'
        )
    same = {
        name: getattr(settings, name) for name in Job.model_fields.keys() & type(settings).model_fields.keys()
    }
    values = same | {
        "engine": "musubi" if settings.engine == "auto" else settings.engine,
        "model": recipe.name,
        "weights": weight_files(settings, recipe),
        "network_dim": settings.network_dim or recipe.network.dim,
        "network_alpha": settings.network_alpha or recipe.network.alpha,
        "learning_rate": settings.learning_rate or recipe.network.learning_rate,
        "optimizer": chosen,
        "gpus": int(settings.gpus) if settings.gpus.isdigit() else None,
        "caching": _caching(settings),
    }
    return Job.model_validate(values | more)


def weight_files(settings: Settings, recipe: Recipe) -> dict[str, Path]:
    """Return the model's files by role: where a setting such as DIT_PATH says, else where they are fetched to."""
    places = places_of_weights(settings, recipe)
    for role in get_args(Role):
        if role not in places and getattr(settings, f"{role}_path") is not None:
            raise RequestError(
                f"{role.upper()}_PATH is set, but {recipe.title} takes no such file. Unset it, or choose the MODEL "
                "that does."
            )
    return {role: getattr(settings, f"{role}_path") or place for role, place in places.items()}


def places_of_weights(settings: Settings, recipe: Recipe) -> dict[str, Path]:
    """Return where the model's files are fetched to, by role; the first shard of several."""
    return {role: settings.space.models / one.folder / one.first for role, one in recipe.weights.items()}


def _caching(settings: Settings) -> Caching:
    return Caching(
        run_latents=settings.run_latent_cache,
        run_text=settings.run_text_encoder_cache,
        latent_device=settings.latent_device,
        text_device=settings.text_encoder_device,
        latent_batch_size=settings.latent_batch_size,
        text_batch_size=settings.text_encoder_batch_size,
        latent_workers=settings.latent_num_workers,
        text_workers=settings.text_encoder_num_workers,
        latent_skip_existing=settings.latent_skip_existing,
        text_skip_existing=settings.text_encoder_skip_existing,
        fp8_text_encoder=settings.enable_fp8_llm,
        disable_cudnn_backend=settings.disable_cudnn_backend,
    )
