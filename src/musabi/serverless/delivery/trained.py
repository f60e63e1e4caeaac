"""What a finished training left, read from its run: the files to hand over, and what is told of them."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musabi.errors import MachineError
from musabi.job.record import RunFolder
from musabi.recipes import Recipe, load, names
from musabi.recipes.lora_models import lora_model
from musabi.serverless.context import Context
from musabi.serverless.delivery.adapter_config import read_layers
from musabi.serverless.parts import EngineChoice, Trained
from musabi.watch import story
from musabi.watch.checkpoints import CONVERTED_FOLDER, Checkpoint, checkpoints
from musabi.watch.lineage import Lineage, read_lineage
from musabi.watch.samples import grid, read_prompts, read_sample, sample_files

BASES = {
    "flux": ("black-forest-labs/FLUX.1-dev", "other"),
    "sdxl": ("stabilityai/stable-diffusion-xl-base-1.0", "openrail++"),
}
"""Of models that only diffusion-pipe trains: the repo that a model card names as the base, and its licence."""


def read_trained(context: Context, outcome: Mapping[str, Any]) -> Trained:
    """Return what the training whose outcome is given left.

    Raises:
        MachineError: its LoRA is not there.
        RequestError: its LoRA can't be read.
    """
    run = context.folder.space.runs / str(outcome["run"])
    lineage = read_lineage(RunFolder(run))
    name = str(lineage.record.job["output_name"])
    comfy, native = _files(lineage, name, context.choice)
    layers = read_layers(native or comfy)
    rank = max((layer.rank for layer in layers if layer.rank is not None), default=0)
    alphas = [layer.effective_alpha for layer in layers if layer.effective_alpha is not None]
    epochs = int(outcome["epochs"])
    return Trained(
        name=name,
        comfy=comfy,
        native=native,
        epochs=epochs,
        latest_epoch=f"epoch{epochs}",
        steps=int(outcome["steps"]),
        rank=rank,
        alpha=max(alphas, default=float(rank)),
        base_model=base_model(context.choice),
        run=run,
        samples=tuple(path for path, _ in last_samples(lineage)),
        trigger=context.request.dataset.trigger_word or None,
        seconds=seconds(lineage),
    )


def last_samples(lineage: Lineage) -> list[tuple[Path, str | None]]:
    """Return the pictures of the newest moment of a run, each with its prompt where that is known."""
    job = lineage.record.job
    name = str(job["output_name"])
    per_epoch = story.plan_schedule(lineage.record)["steps_per_epoch"]
    folder = Path(job.get("output_dir") or lineage.records[-1][0].path) / "sample"
    prompts = read_prompts(Path(job.get("sample_prompts") or ""))
    files = sample_files(lineage.files, folder, name, lineage.record.lineage_started)
    found = grid([read_sample(file, name, per_epoch) for file in files], len(prompts))
    cells = sorted(
        (prompt, path) for (prompt, moment), path in found.cells.items() if moment == found.moments[-1]
    )
    return [(path, prompts[prompt] if prompt < len(prompts) else None) for prompt, path in cells]


def seconds(lineage: Lineage) -> float:
    """Return how long a run and those that it went on from took."""
    ended = lineage.record.ended or time.time()
    return sum(story.seconds_taken(record, ended) for _, record in lineage.records)


def recipe_of(choice: EngineChoice) -> Recipe | None:
    """Return the recipe of the model that was trained; None where only diffusion-pipe has it."""
    return load(choice.model) if choice.model in names() else None


def base_model(choice: EngineChoice) -> str | None:
    """Return the repo of the model that was trained."""
    recipe = recipe_of(choice)
    return recipe.weights["dit"].repo if recipe else BASES.get(choice.model, (None, None))[0]


def licence(choice: EngineChoice) -> str | None:
    """Return the licence of the model that was trained, in the hub's spelling."""
    recipe = recipe_of(choice)
    return recipe.licence if recipe else BASES.get(choice.model, (None, None))[1]


def _files(lineage: Lineage, name: str, choice: EngineChoice) -> tuple[Path, Path | None]:
    """Return the file that ComfyUI reads, and the trainer's own; None where they are one.

    Where the run's own conversion failed, it is done here.
    """
    for row in reversed(checkpoints(lineage.files, name)):
        native, converted = _on_disk(row)
        recipe = recipe_of(choice)
        by_musubi = choice.engine != "diffusion_pipe"
        if native is None or not by_musubi or recipe is None or recipe.conversion.to == "native":
            if (whole := native or converted) is not None:
                return whole, None
            continue
        if converted is None:
            from musabi.lora.convert import to_comfyui  # numpy: a tenth of a second before the trainer

            converted = native.parent / CONVERTED_FOLDER / native.name
            to_comfyui(native, converted, lora_model(recipe))
        return converted, native
    raise MachineError(
        f"The training is done, but its LoRA is no longer there. Its log is {lineage.records[-1][0].log_file}."
    )


def _on_disk(row: Checkpoint) -> tuple[Path | None, Path | None]:
    """Return a checkpoint's own file and the converted one, None where there is none."""
    native, converted = (
        file.path if file is not None and file.size is not None else None
        for file in (row.native, row.converted)
    )
    return native, converted
