"""A job for diffusion-pipe, as FOLDER/pipe.json holds it."""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from musabi.engines.diffusion_pipe.keys import TABLES, TYPES, Table, suited
from musabi.engines.diffusion_pipe.values import Bounds, convert
from musabi.errors import RequestError
from musabi.whole import read_json, write_json

FILE = "pipe.json"
NEEDED: dict[str, tuple[frozenset[str], ...]] = {
    "sdxl": (frozenset({"checkpoint_path"}),),
    "flux": (frozenset({"diffusers_path"}),),
    "wan": (frozenset({"ckpt_path"}),),
    "qwen_image": (
        frozenset({"diffusers_path"}),
        frozenset({"transformer_path", "text_encoder_path", "vae_path"}),
    ),
    "z_image": (frozenset({"diffusion_model", "vae", "text_encoders"}),),
}
"""The weights that each model type can't go without; either of several sets."""
OUTPUT_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


class PipeJob(BaseModel):
    """What is trained, with what, and how: the keys of diffusion-pipe's tables by table.

    `model_type` is the model's name for people and records (wan13, flux); `type` diffusion-pipe's own ([model].type:
    flux, sdxl, wan, qwen_image, z_image). `model`, `adapter`, `optimizer`, `root` and `dataset` hold the keys of
    `TABLES`; what is left out gets config.py's default. `model` holds the paths of the weights, too, and
    `transformer_dtype` for every type that can have one: z_image's own name for it is found by itself.
    `directories` are (folder of pictures or clips, repeats). `checkpoint_every_n_minutes` is how often the state to
    resume from is saved. `gpus` is how many GPUs share a step.

    Raises ValidationError where a key or value can't be right; the messages are sentences.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_type: str
    type: str
    model: dict[str, Any]
    adapter: dict[str, Any]
    optimizer: dict[str, Any]
    root: dict[str, Any] = {}
    dataset: dict[str, Any] = {}
    directories: tuple[tuple[Path, int], ...] = Field(min_length=1)
    output_name: str = Field(pattern=OUTPUT_NAME)
    epochs: int = Field(ge=1)
    save_every_n_epochs: int = Field(ge=1)
    checkpoint_every_n_minutes: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    trigger: str | None = None
    gpus: int = Field(default=1, ge=1, le=16)

    @model_validator(mode="after")
    def _suits(self) -> Self:
        if self.type not in TYPES:
            raise ValueError(f"diffusion-pipe's model type is one of {', '.join(TYPES)} here.")
        for table in TABLES:
            self.suited(table)
        if not any(needed <= set(self.model) for needed in NEEDED[self.type]):
            raise ValueError(f"The model {self.type} needs {', '.join(sorted(NEEDED[self.type][0]))}.")
        if "rank" not in self.adapter:
            raise ValueError("The adapter needs its rank.")
        for folder, repeats in self.directories:
            convert("path", folder, Bounds())
            if not 1 <= repeats <= 100_000:
                raise ValueError("A folder is repeated 1 to 100000 times.")
        return self

    def suited(self, table: Table) -> dict[str, Any]:
        """Return the keys of a table with their values as they go into TOML.

        Raises:
            WrongValueError: a key or value can't be right.
        """
        given: dict[str, Any] = getattr(self, table)
        return {
            key: suited(table, key, value, self.type) for key, value in given.items() if value is not None
        }

    @property
    def rank(self) -> int:
        """The LoRA's rank, which is its alpha, too."""
        return int(self.adapter["rank"])

    def write(self, folder: Path) -> None:
        """Write the job into its folder."""
        write_json(folder / FILE, self.model_dump(mode="json"))


def read_job(folder: Path) -> PipeJob:
    """Return the job of a folder.

    Raises:
        RequestError: there is none in it, or what it asks for can't be right.
    """
    values = read_json(folder / FILE)
    if values is None:
        raise RequestError(f"{folder} holds no {FILE}. It is written when the endpoint starts a job.")
    try:
        return PipeJob.model_validate(values)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its keys"
        said = str(first["msg"]).removeprefix("Value error, ")
        raise RequestError(f"{folder / FILE} can't be right at {where}: {said}") from None
