"""The verb that captions pictures and videos."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from musabi.commands.options import Json, Set, settings_from
from musabi.commands.show import say, say_json
from musabi.errors import RequestError
from musabi.settings import Settings

if TYPE_CHECKING:
    from musabi.captioning.harvest import Captioned
    from musabi.captioning.plan import Plan
    from musabi.captioning.run import Outcome

Source = Annotated[
    Path | None,
    typer.Argument(help="A folder, or a dataset TOML; DATASET_CONFIG where not given.", show_default=False),
]
With = Annotated[
    str | None,
    typer.Option(
        "--with",
        help="joycaption, qwen2.5-vl or qwen3-vl; CAPTION_WITH where not given.",
        show_default=False,
    ),
]
ModelPath = Annotated[
    Path | None,
    typer.Option(
        "--model-path",
        help="A folder with such a model; CAPTION_MODEL_PATH where not given.",
        show_default=False,
    ),
]
Prefix = Annotated[
    str | None, typer.Option("--prefix", help="Text before every caption.", show_default=False)
]
Suffix = Annotated[str | None, typer.Option("--suffix", help="Text after every caption.", show_default=False)]
Trigger = Annotated[
    str | None,
    typer.Option("--trigger", help="A word that every caption gets, in front.", show_default=False),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt", help="What the model is asked; {trigger} stands for the trigger word.", show_default=False
    ),
]


def caption_verb(
    source: Source = None,
    model: With = None,
    model_path: ModelPath = None,
    prefix: Prefix = None,
    suffix: Suffix = None,
    trigger: Trigger = None,
    prompt: Prompt = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Caption anew; old captions go to captions-replaced/.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Go on after the preview without asking.")] = False,
    preview_only: Annotated[
        bool, typer.Option("--preview-only", help="Make and show three captions, and write none.")
    ] = False,
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch the model where it is not here.")] = False,
    extension: Annotated[
        str | None,
        typer.Option("--extension", help="Ending of a folder's caption files; .txt where not given."),
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="cuda, or cpu.", show_default=False)] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Pictures at the same time.", show_default=False)
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", min=8, help="Most tokens of a caption.", show_default=False),
    ] = None,
    pairs: Set = None,
    as_json: Json = False,
) -> None:
    """Write a caption for every picture and video that has none. Three are shown first.

    Example: musabi caption dataset/images --with joycaption --trigger ohwx
    """
    from musabi.captioning.asked import Asked, caption, say_and_go_on
    from musabi.captioning.run import Outcome

    settings = settings_from(
        pairs,
        caption_with=model,
        caption_model_path=str(model_path) if model_path else None,
        caption_prefix=prefix,
        caption_suffix=suffix,
        trigger_word=trigger,
    )
    plan = _plan(settings, source, extension, overwrite)
    tell = _quiet if as_json else say
    if not plan.files:
        say_json(Outcome(plan).as_json()) if as_json else say(_nothing_to_do(plan))
        return
    tell(f"{len(plan.files)} files get a caption; {plan.captioned} have one.")
    asked = Asked(overwrite, preview_only, fetch, device, prompt, max_tokens, batch)
    alone = as_json or yes or not (sys.stdin.isatty() and sys.stdout.isatty())
    outcome = caption(settings, plan, asked, say_and_go_on(tell) if alone else _ask, tell)
    none_made = bool(outcome.failed) and not outcome.preview
    if as_json:
        say_json(outcome.as_json())
    elif not none_made:
        say(_what_came_of(outcome, preview_only))
    if none_made:
        raise RequestError(f"No caption was made. The first: {outcome.failed[0][0]} {outcome.failed[0][1]}.")


def _plan(settings: Settings, source: Path | None, extension: str | None, overwrite: bool) -> "Plan":
    from musabi.captioning.plan import DEFAULT_EXTENSION, Place, make_plan, places_of

    if source is not None and source.suffix.lower() != ".toml":
        ending = extension or DEFAULT_EXTENSION
        if not ending.startswith(".") or "/" in ending or len(ending) < 2:
            raise RequestError(f'--extension must be a dot and an ending, such as .txt, not "{ending}".')
        return make_plan([Place(source.absolute(), ending)], overwrite=overwrite)
    if extension is not None:
        raise RequestError("--extension goes with a folder; a dataset TOML has its own caption_extension.")
    from musabi.dataset.config import read_config
    from musabi.recipes import load

    recipe = load(settings.model)
    path = source.absolute() if source is not None else settings.dataset_config
    config = read_config(path, recipe.dataset, recipe.architecture, recipe.title)
    return make_plan(places_of(config), overwrite=overwrite)


def _nothing_to_do(plan: "Plan") -> str:
    lines = [f"Passed over: {file}: {why}" for file, why in plan.passed_over]
    return "\n".join([*lines, f"All {plan.captioned} files have a caption. --overwrite makes new ones."])


def _ask(made: Sequence["Captioned"], left: int) -> bool:
    """Show the first captions on a terminal and ask whether to go on."""
    from musabi.captioning.asked import preview_lines

    say("\n" + "\n\n".join(preview_lines(made)) + "\n")
    others = f"and the other {left}" if left else "to the caption files"
    try:
        answer = input(f"Write these {others}? [Y/n] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("", "y", "yes")


def _quiet(_text: str) -> None:
    """Say nothing, where a program reads."""


def _what_came_of(outcome: "Outcome", preview_only: bool) -> str:
    from musabi.captioning.asked import preview_lines

    if preview_only:
        return "\n\n".join([*preview_lines(outcome.preview), "Nothing was written."])
    if not outcome.agreed:
        return "Nothing was written. Change --prompt, --prefix, --suffix or --with, and start again."
    failed = f" {len(outcome.failed)} files were passed over." if outcome.failed else ""
    return f"{len(outcome.written)} captions are written.{failed}"


def register(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command("caption")(caption_verb)
