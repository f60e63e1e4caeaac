"""What a recipe file holds, typed, and the loader."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from musabi.errors import RequestError

FOLDER = Path(__file__).parent

StepKind = Literal["cache-latents", "cache-text", "train", "convert", "sample"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Argument(_Part):
    """One argument that a script always gets, and why. Without a value it is a switch."""

    flag: str = Field(pattern=r"^--[a-z0-9_]+$")
    value: str | None = None
    why: str


class Weights(_Part):
    """One set of weight files: where they lie on the hub, and the folder under models/ they go to."""

    kind: Literal["dit", "vae", "text_encoder"]
    repo: str
    files: tuple[str, ...]

    @property
    def first(self) -> str:
        """The name of the file that a trainer is given: the only one, or the first shard."""
        return Path(self.files[0]).name


class Tokenizer(_Part):
    """What the text encoder's tokenizer needs in the hub cache."""

    repo: str
    folder: str
    files: tuple[str, ...]


class Script(_Part):
    """One script of the trainer, relative to its package.

    `arguments_in` names the sources that define its arguments: `file.py` or `file.py:function`.
    """

    file: str
    arguments_in: tuple[str, ...] = ()
    always: tuple[Argument, ...] = ()


class Network(_Part):
    """The LoRA network module."""

    module: str


class Limits(_Part):
    """What the model can't go beyond. `fp8_below_gib`: GPUs with less memory hold the DiT in 8 bits."""

    max_blocks_to_swap: int
    fp8_below_gib: float
    sample_size_multiple: int


class Sampling(_Part):
    """How prompts are rendered where a prompt line doesn't say: sizes in pixels."""

    width: int
    height: int
    steps: int
    guidance: float
    flow_shift: float


class Recipe(_Part):
    """One model, as one trainer trains it. `licence` is that of the weights, in the hub's spelling."""

    name: str
    title: str
    architecture: str
    package: str
    convert_target: str
    licence: str | None = None
    unusable: dict[str, str]
    weights: tuple[Weights, ...]
    tokenizer: Tokenizer
    scripts: dict[StepKind, Script]
    network: Network
    limits: Limits
    sampling: Sampling


def names() -> tuple[str, ...]:
    """Return the names of the models that there is a recipe for."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


@cache
def load(name: str) -> Recipe:
    """Return the recipe of a model.

    Raises:
        RequestError: there is none of that name.
    """
    path = FOLDER / f"{name}.toml"
    if name not in names():
        raise RequestError(f'There is no recipe for the model "{name}". Known models: {", ".join(names())}.')
    return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
