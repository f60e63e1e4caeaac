"""A request as job.toml: what `musabi run` is told, for musubi-tuner and for the embedded engine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from musabi.recipes import load
from musabi.recipes.recipe import Recipe
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.parts import EngineChoice, JobWeights
from musabi.serverless.request import optimizers
from musabi.serverless.request.allowlist import arguments
from musabi.serverless.request.clips import changed_lengths
from musabi.serverless.request.engine_choice import TITLES
from musabi.serverless.request.fields import Training, TrainingRequest
from musabi.serverless.request.model_types import of_model
from musabi.serverless.request.parameters import PARAMETERS

OUTPUT_NAME = "lora"
"""Name of the LoRA files of every job; what is handed over has the original's names."""
PRECISIONS = {"bfloat16": "bf16", "float16": "fp16", "float32": "float"}
PRODIGY_ALWAYS = ("decouple=True", "use_bias_correction=True", "safeguard_warmup=True", "d_coef=1.0")
"""What engines/musubi/training.py gives Prodigy: --optimizer_args replaces all of it."""
OPTIMIZER_ARGUMENTS = {
    "betas": "optimizer_betas",
    "weight_decay": "optimizer_weight_decay",
    "eps": "optimizer_eps",
}
SPECIAL = frozenset(
    {"optimizer_type", "save_dtype", "activation_checkpointing", "transformer_dtype", "learning_rate"}
)
"""Parameters whose row is not their value as it stands."""


def job_toml(request: TrainingRequest, choice: EngineChoice, files: JobWeights, folder: JobFolder) -> str:
    """Return the text of job.toml."""
    import tomlkit

    document = tomlkit.document()
    for name, value in settings_rows(request, choice, files, folder).items():
        document.add(name, tomlkit.item(str(value) if isinstance(value, Path) else value))
    return tomlkit.dumps(document)


def settings_rows(
    request: TrainingRequest, choice: EngineChoice, files: JobWeights, folder: JobFolder
) -> dict[str, Any]:
    """Return the settings of a job by their names in lower case."""
    training = request.training
    rows: dict[str, Any] = {
        "engine": choice.engine,
        "model": choice.model,
        "output_name": OUTPUT_NAME,
        "output_dir": folder.output,
        "logging_dir": folder.space.logs,
        "dataset_config": folder.dataset_config,
        "sample_prompts": folder.sample_prompts,
        "network_alpha": float(training.lora_rank),
    }
    if request.dataset.trigger_word is not None:
        rows["trigger_word"] = request.dataset.trigger_word
    for one in PARAMETERS:
        wanted = one.row and choice.engine not in one.idle and one.name not in SPECIAL
        if wanted and (not one.only_given or one.name in training.given):
            rows[one.row] = getattr(training, one.name)
    rows |= _special_rows(training, choice)
    return rows | files.rows | {"extra_train_args": list(train_arguments(request, choice))}


def train_arguments(request: TrainingRequest, choice: EngineChoice) -> tuple[str, ...]:
    """Return the arguments of the training script that there is no setting for."""
    training = request.training
    made: list[str] = []
    if training.gradient_accumulation_steps > 1 and choice.engine == "musubi":
        made += ["--gradient_accumulation_steps", str(training.gradient_accumulation_steps)]
    if training.gradient_clipping != 1.0:
        made += ["--max_grad_norm", repr(training.gradient_clipping)]
    made += _schedule(training)
    made += _optimizer(training)
    if _offloads(training, choice):
        made.append("--gradient_checkpointing_cpu_offload")
    return (*made, *arguments(training.extra))


def untranslated(request: TrainingRequest, choice: EngineChoice) -> tuple[str, ...]:
    """Return what the request asks for and this trainer makes nothing of, a sentence each."""
    said = [
        f"training.{one.name} has no effect with {TITLES[choice.engine]}: {one.idle[choice.engine]}."
        for one in PARAMETERS
        if one.name in request.training.given and choice.engine in one.idle
    ]
    return (*_dataset_notes(request), *said, *_optimizer_notes(request), *_model_notes(request, choice))


def _special_rows(training: Training, choice: EngineChoice) -> dict[str, Any]:
    optimizer = optimizers.OPTIMIZERS[training.optimizer_type.lower()]
    rows: dict[str, Any] = {
        "optimizer": optimizer.row or "adamw",
        "save_precision": PRECISIONS[training.save_dtype],
        "learning_rate": training.learning_rate,
    }
    if "activation_checkpointing" in training.given:
        rows["gradient_checkpointing"] = bool(training.activation_checkpointing)
    precision = dit_precision(training.transformer_dtype, load(choice.model))
    if precision is not None and choice.engine == "musubi":
        rows["dit_precision"] = precision
    return rows


def dit_precision(asked: str | None, recipe: Recipe) -> str | None:
    """Return how musubi-tuner holds the DiT, or None where it can't be held as asked."""
    if asked == "bfloat16":
        return "bf16"
    eight_bits = recipe.limits.fp8 in ("scaled", "base") and not recipe.has("adapter")
    return "fp8" if asked is not None and asked.startswith("float8") and eight_bits else None


def _schedule(training: Training) -> list[str]:
    """Return the learning rate's curve: constant after a warm-up where a request names none, as in the original.

    Prodigy's rate stays as it is where the request asks for nothing.
    """
    asked = training.lr_scheduler if training.lr_scheduler != "constant" else None
    warmup = training.warmup_steps
    if training.optimizer_type.lower() == "prodigy":
        warmup = warmup if "warmup_steps" in training.given else 0
        if asked is None and not warmup:
            return []
    return ["--lr_scheduler", asked or "constant_with_warmup", "--lr_warmup_steps", str(warmup)]


def _optimizer(training: Training) -> list[str]:
    """Return the optimizer's arguments, and its name where musabi has none for it."""
    name = training.optimizer_type.lower()
    found = optimizers.OPTIMIZERS[name]
    pairs = [f"{key}={_literal(getattr(training, OPTIMIZER_ARGUMENTS[key]))}" for key in found.takes]
    if name == "prodigy":
        rate = ["--learning_rate", repr(training.learning_rate)] if "learning_rate" in training.given else []
        asked = set(OPTIMIZER_ARGUMENTS.values()) & training.given
        return [*rate, "--optimizer_args", *PRODIGY_ALWAYS, *pairs] if asked else rate
    named = ["--optimizer_type", found.flag] if found.flag else []
    return [*named, "--optimizer_args", *found.fixed, *pairs]


def _literal(value: object) -> str:
    return ",".join(map(repr, value)) if isinstance(value, tuple) else repr(value)


def _offloads(training: Training, choice: EngineChoice) -> bool:
    asked = "activation_checkpointing" in training.given and training.activation_checkpointing == "unsloth"
    already = "gradient_checkpointing_cpu_offload" in training.extra
    works = choice.engine == "musubi" and load(choice.model).limits.checkpointing_offload
    return asked and works and not already


def _dataset_notes(request: TrainingRequest) -> Iterator[str]:
    dataset = request.dataset
    for kind in dataset.given.keys() - dataset.addresses.keys():
        yield (
            f"dataset.{kind}_url is not read: dataset.type is {dataset.type}. Set dataset.type to both to read it, too."
        )


def _optimizer_notes(request: TrainingRequest) -> Iterator[str]:
    training = request.training
    takes = optimizers.OPTIMIZERS[training.optimizer_type.lower()].takes
    for key, name in OPTIMIZER_ARGUMENTS.items():
        if name in training.given and key not in takes:
            yield f"training.{name} has no effect with the optimizer {training.optimizer_type.lower()}."


def _model_notes(request: TrainingRequest, choice: EngineChoice) -> Iterator[str]:
    model, dtype = of_model(choice.model), request.training.transformer_dtype
    if dtype is not None and model.pipe == "sdxl":
        yield "training.transformer_dtype has no effect: SDXL has no transformer."
    if model.recipe is None:
        return
    recipe = load(model.recipe)
    if choice.engine == "musubi" and dtype is not None and dit_precision(dtype, recipe) is None:
        yield f"training.transformer_dtype {dtype} has no effect: {recipe.title} is not held so."
    if changed := changed_lengths(request, recipe):
        step = recipe.dataset.latent_frames
        yield (
            f"training.frame_buckets: {', '.join(map(str, changed))} became the next length below of the form "
            f"{step} x N + 1, which {recipe.title} needs."
        )
