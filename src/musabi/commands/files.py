"""The verb that converts a LoRA file, and how a LoRA is found by its name."""

from pathlib import Path
from typing import Annotated

import typer

from musabi.commands.options import (
    Json,
    Set,
    settings_from,
)
from musabi.commands.show import say, say_json
from musabi.errors import RequestError
from musabi.recipes import load as load_recipe
from musabi.settings import Settings


def convert_verb(
    source: Annotated[Path, typer.Argument(help="The LoRA file.")],
    target: Annotated[
        Path | None,
        typer.Argument(help="The file to write; comfyui/ beside it where not given.", show_default=False),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", help="comfyui, or native: as musubi-tuner trains it.")
    ] = "comfyui",
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="The model it is for; told by the file where not given.", show_default=False
        ),
    ] = None,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Convert a LoRA for ComfyUI, or back to what musubi-tuner trains on.

    Example: musabi convert output/character_lora_v1.safetensors
    """
    from musabi.lora.adapter import read_adapter
    from musabi.lora.convert import to_comfyui, to_native
    from musabi.lora.models import find_model
    from musabi.recipes.lora_models import known_models, lora_model

    convert = {"comfyui": to_comfyui, "native": to_native}.get(to)
    if convert is None:
        raise RequestError(f'--to is "{to}". Write --to comfyui or --to native.')
    settings = settings_from(pairs)
    source = find_lora(settings, source).absolute()
    if target is not None and target.suffix != ".safetensors":
        raise RequestError(f"{target} must end in .safetensors, or it is not taken for a LoRA.")
    chosen = lora_model(load_recipe(model)) if model else find_model(read_adapter(source), known_models())
    done = convert(source, target.absolute() if target else source.parent / to / source.name, chosen)
    words = {"comfyui": "for ComfyUI", "native": "for training"}[to]
    if as_json:
        say_json(
            {"converted": str(done.path), "layers": done.layers, "note": done.note, "model": chosen.name}
        )
    else:
        say(f"Converted {words}: {done.path}" + (f". {done.note}." if done.note else ""))


def find_lora(settings: Settings, given: Path) -> Path:
    """Return the file that a name means: here, else under the workspace, else in the output folder."""
    places = (given, settings.workspace / given, settings.output_dir / given)
    return next((place for place in places if place.exists()), given)


def register(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command("convert")(convert_verb)
