"""Verbs on LoRA files: look into one, merge several, average a run's checkpoints, delete some."""

from pathlib import Path
from typing import Annotated

import typer

from musabi.commands.options import Json
from musabi.commands.show import say, say_json
from musabi.errors import RequestError

Output = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Write over the file where it is there.")]


def inspect_verb(
    file: Annotated[Path, typer.Argument(help="A LoRA file: as it was trained, or converted.")],
    as_json: Json = False,
) -> None:
    """Say what a LoRA is: model, kind, rank, alpha, layers, size of its effect, how it was trained.

    Example: musabi lora inspect output/character_lora_v1.safetensors
    """
    from musabi.lora.inspection import as_text, inspect
    from musabi.recipes.lora_models import known_models

    facts = inspect(file, known_models())
    say_json(facts.as_json()) if as_json else say(as_text(facts))


def merge_verb(
    files: Annotated[list[Path], typer.Argument(help="LoRAs of one model.")],
    output: Output,
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="A number for each file; 1 each where not given.", show_default=False),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option("--rank", min=1, help="Cut the result down to this rank.", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Merge LoRAs of one model: the result adds the weighted sum of what they add.

    Example: musabi lora merge style.safetensors person.safetensors --weights 0.7,0.5 --output both.safetensors
    """
    from musabi.lora.merge import merge
    from musabi.recipes.lora_models import known_models

    _require_commas(files, weights)
    _require_output(output, files, overwrite=overwrite)
    done = merge(files, _numbers(weights, len(files)), output, known_models(), rank)
    if as_json:
        say_json(vars(done))
        return
    say(f"Merged {len(files)} LoRAs: {done.path}, rank {done.rank}, {done.layers} layers")
    if done.energy is not None:
        say(f"Rank {done.rank} keeps {done.energy:.4%} of the exact sum's energy.")
    if done.form == "native":
        say(f"It has the trainer's keys. For ComfyUI: musabi convert {done.path}")


def ema_verb(
    files: Annotated[list[Path], typer.Argument(help="Checkpoints of one run.")],
    output: Output,
    beta: Annotated[
        float, typer.Option("--beta", min=0, max=1, help="How much of the average each file leaves.")
    ] = 0.95,
    beta2: Annotated[
        float | None,
        typer.Option("--beta2", min=0, max=1, help="Let beta go to this one evenly.", show_default=False),
    ] = None,
    sigma_rel: Annotated[
        float | None,
        typer.Option(
            "--sigma-rel",
            min=0.01,
            max=0.28,
            help="The power function's width instead of beta.",
            show_default=False,
        ),
    ] = None,
    as_given: Annotated[
        bool, typer.Option("--as-given", help="Take the files in the order in which they are named.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Average the checkpoints of a run, later ones the more (post-hoc EMA).

    Example: musabi lora ema output/character_lora_v1-*.safetensors --output averaged.safetensors
    """
    from musabi.lora.ema import ema

    _require_output(output, files, overwrite=overwrite)
    done = ema(files, output, beta=beta, beta2=beta2, sigma_rel=sigma_rel, as_given=as_given)
    if as_json:
        say_json({"path": output, "files": [{"path": path, "share": share} for path, share in done]})
        return
    for path, share in done:
        say(f"{share:7.2%}  {path}")
    say(f"Averaged: {output}")


def delete_verb(
    files: Annotated[list[Path], typer.Argument(help="LoRA files; each goes with its converted twin.")],
    for_good: Annotated[
        bool, typer.Option("--for-good", help="Remove them now, which frees the disk.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete LoRAs in both forms: they go to the folder bin beside them, from where they can be taken back.

    Example: musabi lora delete output/character_lora_v1-000004.safetensors
    """
    from musabi.lora.bin import each_once, put_away

    files = each_once(files)
    places = [put_away(file, for_good=for_good) for file in files]
    if as_json:
        say_json({"deleted": files, "bin": [place for place in places if place]})
        return
    for file, place in zip(files, places, strict=True):
        say(f"Moved {file.name} to {place}." if place else f"Removed {file}.")


def _numbers(text: str | None, count: int) -> list[float]:
    if text is None:
        return [1.0] * count
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise RequestError(f'--weights {text} is not numbers with commas, such as "0.7,0.5".') from None


def _require_commas(files: list[Path], weights: str | None) -> None:
    """Refuse numbers among the files: weights that were written with spaces between them."""
    numbers = [str(file) for file in files if _is_number(str(file)) and not file.exists()]
    if weights is not None and numbers:
        raise RequestError(
            f"Write the weights with commas and no spaces: --weights {','.join([weights, *numbers])}"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _require_output(output: Path, files: list[Path], *, overwrite: bool) -> None:
    if output.suffix != ".safetensors":
        raise RequestError(f"{output} must end in .safetensors, or it is not taken for a LoRA.")
    if any(output.exists() and file.exists() and output.samefile(file) for file in files):
        raise RequestError(f"{output} is one of the files that are read. Name another file to write.")
    if output.is_dir():
        raise RequestError(f"{output} is a folder. Name a file to write.")
    if output.exists() and not overwrite:
        raise RequestError(f"{output} is there already. Name another file, or pass --overwrite.")


def register(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    group = typer.Typer(help="Look into, merge, average and delete LoRA files.", no_args_is_help=True)
    group.command("inspect")(inspect_verb)
    group.command("merge")(merge_verb)
    group.command("ema")(ema_verb)
    group.command("delete")(delete_verb)
    app.add_typer(group, name="lora")
