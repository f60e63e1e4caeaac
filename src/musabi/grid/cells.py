"""What a grid shows: a row a prompt, a column a LoRA at a strength, and the name that a picture is kept under."""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from musabi.errors import RequestError
from musabi.job.model import Job
from musabi.job.prompt import Prompt
from musabi.recipes import Recipe

MOST_CELLS = 400
STRENGTHS = (-10.0, 10.0)
BASE = "Without LoRA"


@dataclass(frozen=True)
class Column:
    """A LoRA file at a strength; `lora` and `strength` are None for the model alone.

    `label` is the checkpoint's for a person, `content` a hash of the file's bytes, or "base".
    """

    label: str
    lora: Path | None = None
    strength: float | None = None
    content: str = "base"

    @property
    def words(self) -> str:
        """The column in words: Epoch 2, strength 0.8."""
        return self.label if self.strength is None else f"{self.label}, strength {self.strength:g}"


def read_strengths(text: str) -> tuple[float, ...]:
    """Return the strengths of a list such as 0.6,0.8,1.0, each once.

    Raises:
        RequestError: one is no number from -10 to 10 with at most two decimals.
    """
    found: dict[float, None] = {}
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not STRENGTHS[0] <= value <= STRENGTHS[1] or round(value, 2) != value:
            raise RequestError(
                f'"{part.strip()}" is no strength. Write numbers from -10 to 10 with at most two decimals, '
                "such as 0.6,0.8,1.0."
            )
        found[value] = None
    return tuple(found)


def columns(
    loras: Sequence[tuple[str, Path, str]], strengths: Sequence[float], *, with_base: bool
) -> tuple[Column, ...]:
    """Return the columns from left to right; a LoRA is (label, file, hash of its bytes)."""
    base = (Column(BASE),) if with_base else ()
    made = tuple(
        Column(label, file, strength, content) for label, file, content in loras for strength in strengths
    )
    return base + made


def rows(prompts: Sequence[Prompt], seed: int) -> tuple[Prompt, ...]:
    """Return the prompts, each with a seed, so that all pictures of a row start from the same noise."""
    return tuple(
        prompt if prompt.seed is not None else replace(prompt, seed=seed, given=prompt.given | {"seed"})
        for prompt in prompts
    )


def require_few(prompts: int, wide: int) -> None:
    """Raise a RequestError for a grid of more cells than a person can look at."""
    if prompts * wide > MOST_CELLS:
        raise RequestError(
            f"{prompts} prompts x {wide} columns are {prompts * wide:,} cells; a grid may have {MOST_CELLS}. "
            "Name fewer LoRAs, strengths or prompts."
        )


def content_of(lora: Path) -> str:
    """Return the first 12 hex digits of the SHA-256 of a file's bytes."""
    with lora.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def picture_name(column: Column, prompt: Prompt, setup: str) -> str:
    """Return the name, without its ending, that tells a picture from every other.

    LoRA's content, strength, prompt and seed: 3f9a0c1d2e4b_0.8_a-cat-5d41402a_42. The digits behind the
    prompt's words stand for all its values and for `setup`.
    """
    said = json.dumps([_values(prompt), setup], sort_keys=True)
    digits = hashlib.sha256(said.encode()).hexdigest()[:8]
    strength = "0" if column.strength is None else f"{column.strength:g}"
    words = "-".join(part for part in (_slug(prompt.text), digits) if part)
    return f"{column.content}_{strength}_{words}_{prompt.seed}"


def setup_of(job: Job, recipe: Recipe) -> str:
    """Return a text that differs where a picture would differ for another reason than LoRA and prompt.

    Engine, model, its files (path and size), what a prompt that says nothing gets, extra arguments.
    """
    files = {role: [str(path), _size(path)] for role, path in job.weights.items()}
    told = [
        job.engine,
        job.model,
        files,
        recipe.sampling.model_dump(mode="json"),
        list(job.extra_sample_args),
    ]
    return json.dumps(told, sort_keys=True)


def _values(prompt: Prompt) -> dict[str, object]:
    return asdict(prompt) | {"given": sorted(prompt.given)}


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:32].rstrip("-")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
