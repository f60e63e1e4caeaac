"""The sample prompts of a job: what its LoRA is shown with at the end."""

import re
from collections.abc import Sequence
from pathlib import Path

from musabi.dataset.prompts import FLAGS
from musabi.recipes.recipe import Recipe
from musabi.serverless.request.fields import TrainingRequest
from musabi.watch.card import one_line

MOST_PROMPTS = 2
MOST_LETTERS = 500
PICTURE_FLAGS = ("i", "ei", "ci")


def needs_picture(recipe: Recipe) -> bool:
    """Tell whether the model renders no prompt without a picture."""
    return any(flag in recipe.sampling.prompt_needs for flag in PICTURE_FLAGS)


def prompts_text(
    request: TrainingRequest, recipe: Recipe, captions: Sequence[str] = (), picture: Path | None = None
) -> str:
    """Return the text of sample_prompts.txt: a couple of the dataset's captions, a video model one.

    Captions are others' words: what the trainer would read as flags in them (--i FILE) is taken out. `picture` is
    what a model that needs one begins from.
    """
    most = MOST_PROMPTS if recipe.makes == "image" else 1
    word = request.dataset.trigger_word
    plain = dict.fromkeys(text for caption in captions if (text := as_prompt(caption)))
    chosen = list(plain)[:most] or [as_prompt(f"a photo of {word}") if word else "a photo"]
    return "".join(f"{text}{_flags(recipe, picture)}\n" for text in chosen)


def as_prompt(caption: str) -> str:
    """Return a caption as a prompt of one line, without anything that could be a flag or a comment."""
    text = re.sub(r"-{2,}", " ", one_line(caption))
    text = " ".join(text.split())[:MOST_LETTERS].strip().lstrip("#-").strip()
    # The trainer reads "w 512" at the start of a line as its flag --w.
    opens = any(re.match(rf"{flag.name} {flag.opens}", text, re.IGNORECASE) for flag in FLAGS)
    return f"a picture: {text}" if opens else text


def _flags(recipe: Recipe, picture: Path | None) -> str:
    needs = [flag for flag in recipe.sampling.prompt_needs if flag in PICTURE_FLAGS]
    return "".join(f" --{flag} {picture}" for flag in needs) if picture is not None else ""
