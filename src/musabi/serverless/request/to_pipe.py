"""A request as pipe.json: what diffusion-pipe is told. The text of its TOML is its engine's business."""

from pathlib import Path
from typing import Any

from musabi.engines.diffusion_pipe.job import PipeJob
from musabi.engines.diffusion_pipe.keys import TABLES, Table, place_of
from musabi.recipes import load
from musabi.serverless.context import Context
from musabi.serverless.parts import EngineChoice, JobWeights
from musabi.serverless.request import optimizers
from musabi.serverless.request.clips import lengths
from musabi.serverless.request.dataset_toml import resolution
from musabi.serverless.request.fields import TrainingRequest
from musabi.serverless.request.model_types import ModelType, of_model
from musabi.serverless.request.parameters import PARAMETERS
from musabi.serverless.request.to_settings import OPTIMIZER_ARGUMENTS, OUTPUT_NAME

Tables = dict[Table, dict[str, Any]]
SPECIAL = frozenset(
    {"optimizer_type", "learning_rate", "resolution", "frame_buckets", "transformer_dtype", "lr_scheduler"}
)
"""Parameters that go into the TOML otherwise than as they stand."""


def write_pipe_job(context: Context, files: JobWeights) -> None:
    """Write pipe.json into the job's folder."""
    dataset = context.folder.dataset
    clips = dataset / "clips"
    directories = (
        context.folder.images if context.request.has_images else None,
        (clips if clips.is_dir() else context.folder.videos) if context.request.has_videos else None,
    )
    pipe_job(context.request, context.choice, files, *directories).write(context.folder.path)


def pipe_job(
    request: TrainingRequest,
    choice: EngineChoice,
    files: JobWeights,
    images: Path | None,
    videos: Path | None,
) -> PipeJob:
    """Return the job for diffusion-pipe. `images` and `videos` are folders, the clips cut to their lengths.

    Raises:
        pydantic.ValidationError: a value can't be right; read_request refuses those first.
    """
    model = of_model(choice.model)
    tables = tables_of(request, model)
    named = ((images, request.dataset.image_repeats), (videos, request.dataset.video_repeats))
    return PipeJob(
        model_type=request.model_type,
        type=str(model.pipe),
        model=tables["model"] | files.rows,
        adapter=tables["adapter"],
        optimizer=tables["optimizer"],
        root=tables["root"],
        dataset=tables["dataset"],
        directories=tuple((folder, repeats) for folder, repeats in named if folder is not None),
        output_name=OUTPUT_NAME,
        epochs=request.training.epochs,
        save_every_n_epochs=request.training.save_every_n_epochs,
        checkpoint_every_n_minutes=request.training.checkpoint_every_n_minutes,
        trigger=request.dataset.trigger_word,
    )


def tables_of(request: TrainingRequest, model: ModelType) -> Tables:
    """Return the keys of diffusion-pipe's tables: documented parameters, then the request's other keys.

    What a request has no parameter for is the engine's (config.py: the original's defaults).
    """
    training, kind = request.training, str(model.pipe)
    tables: Tables = {table: {} for table in TABLES}
    for one in PARAMETERS:
        wanted = one.place is not None and one.name not in SPECIAL and "diffusion_pipe" not in one.idle
        if one.place is not None and wanted and getattr(training, one.name) is not None:
            table, key = one.place
            tables[table][key] = _plain(getattr(training, one.name))
    tables["optimizer"] = _optimizer(request)
    tables["model"] |= _transformer_dtype(request, model)
    tables["dataset"] |= _dataset(request, model)
    if training.lr_scheduler is not None:
        tables["root"]["lr_scheduler"] = training.lr_scheduler.removesuffix("_with_warmup")
    for name, value in training.extra.items():
        place = place_of(name, kind)
        if place is not None:
            tables[place][name] = value
    return tables


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _optimizer(request: TrainingRequest) -> dict[str, Any]:
    training = request.training
    found = optimizers.OPTIMIZERS[training.optimizer_type.lower()]
    prodigy = training.optimizer_type.lower() == "prodigy"
    rate = 1.0 if prodigy and "learning_rate" not in training.given else training.learning_rate
    values = {key: _plain(getattr(training, OPTIMIZER_ARGUMENTS[key])) for key in found.takes}
    return {"type": found.pipe, "lr": rate} | values


def _transformer_dtype(request: TrainingRequest, model: ModelType) -> dict[str, Any]:
    """Return how the transformer is held, where that was asked for and the model has one."""
    asked, row = request.training.transformer_dtype, TABLES["model"]["transformer_dtype"]
    return {"transformer_dtype": asked} if asked and model.pipe in row.types else {}


def _dataset(request: TrainingRequest, model: ModelType) -> dict[str, Any]:
    """Return sizes and lengths. diffusion-pipe has one list of sizes for images and videos alike."""
    recipe = load(model.recipe) if model.recipe else None
    if recipe is None:
        return {"resolutions": [_plain(request.training.resolution)], "frame_buckets": [1]}
    size = resolution(request, recipe, videos=request.has_videos)
    frames = lengths(request, recipe) if request.has_videos else ()
    return {"resolutions": [size], "frame_buckets": [1, *frames]}
