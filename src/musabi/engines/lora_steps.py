"""Steps that change the form of a LoRA's keys, whichever engine trained it. Pure."""

import sys
from pathlib import Path

from musabi.job.plan import Step
from musabi.lora.command_line import command
from musabi.recipes import Recipe
from musabi.recipes.lora_models import lora_model


def native_adapter(adapter: Path) -> Path:
    """Return where an adapter's copy with native keys lies, which is what the trainer can merge."""
    return adapter.with_name("native") / adapter.name


def to_comfyui_step(source: Path, target: Path, recipe: Recipe) -> Step:
    """Return the step that writes `source` (native keys) to `target` as ComfyUI reads it."""
    return Step(
        name="convert",
        title=f"Convert {source.name} for ComfyUI",
        argv=(sys.executable, "-P", *command("to-comfyui", source, target, lora_model(recipe))),
    )


def to_native_step(source: Path, target: Path, recipe: Recipe) -> Step:
    """Return the step that writes `source` (ComfyUI's or Diffusers' keys) to `target` with native keys."""
    return Step(
        name="convert",
        title=f"Convert {source.name} for training",
        argv=(sys.executable, "-P", *command("to-native", source, target, lora_model(recipe))),
    )


def adapter_step(adapter: Path, recipe: Recipe, skip: str | None) -> Step:
    """Return the step that gives a training adapter native keys, so that the trainer can merge it."""
    final = native_adapter(adapter)
    written = final.with_name(f".{final.stem}.part.safetensors")
    return Step(
        name="adapt",
        title="Give the training adapter native keys",
        argv=to_native_step(adapter, written, recipe).argv,
        output=(written, final),
        skip=skip,
    )
