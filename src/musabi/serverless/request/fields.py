"""What a request holds, typed: each field is one of the documented API, with its default. No secret is in it.

Defaults are the original's (measured), ranges are ours. What a field must be stands beside it in words, for the
message where it is not.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

DatasetType = Literal["precaptioned", "images", "videos", "both"]
EngineName = Literal["auto", "musubi", "diffusion_pipe", "diffusers"]
Captioner = Literal["joycaption", "qwen2.5-vl", "qwen3-vl", "gemini"]
Method = Literal["auto", "huggingface", "s3", "litterbox", "transfer_sh", "volume"]
ClipModeName = Literal["single_beginning", "single_middle", "multiple_overlapping"]
Dtype = Literal["bfloat16", "float16", "float32"]
ModelDtype = Literal["bfloat16", "float16", "float32", "float8", "float8_e4m3fn", "float8_e5m2"]
Scheduler = Literal[
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"
]
MOST_LETTERS = 8192
REPO = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{2,254}")
"""Also the names of older buckets (capitals, _) and of access points, which are longer and hold colons."""


def _no_truth(value: object) -> object:
    """Refuse true and false where a number belongs: Python counts them as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("a truth value")
    return value


def _plain(text: str) -> str:
    if not text.strip() or len(text) > MOST_LETTERS or not text.isprintable():
        raise ValueError("empty, too long or with control characters")
    return text.strip()


def _key_prefix(text: str) -> str:
    parts = _plain(text).strip("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError("a path")
    return "/".join(parts)


def _matching(pattern: re.Pattern[str]) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text) or ".." in text:
            raise ValueError("another form")
        return text

    return AfterValidator(check)


Number = Annotated[float, BeforeValidator(_no_truth), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_no_truth)]
Count = Annotated[Whole, Field(ge=1, le=1_000_000)]
NoneOrMore = Annotated[Whole, Field(ge=0, le=1_000_000)]
Share = Annotated[Number, Field(ge=0, lt=1)]
Side = Annotated[Whole, Field(ge=64, le=4096)]
Text = Annotated[str, AfterValidator(_plain)]
Word = Annotated[str, Field(max_length=200), AfterValidator(_plain)]


def _f(default: Any, must: str, **rules: Any) -> Any:  # noqa: ANN401 - as pydantic's Field
    return Field(default, description=must, **rules)


class Part(BaseModel):
    """A part of a request, never changed. Unknown keys are looked at elsewhere."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Dataset(Part):
    """What is trained on and where it comes from."""

    type: DatasetType
    images_url: Text | None = _f(None, "a web address", repr=False)
    videos_url: Text | None = _f(None, "a web address", repr=False)
    trigger_word: Word | None = _f(None, "a text of at most 200 letters on one line")
    image_repeats: Annotated[Count, Field(le=10_000)] = _f(1, "a whole number from 1 to 10000")
    video_repeats: Annotated[Count, Field(le=10_000)] = _f(5, "a whole number from 1 to 10000")
    caption_with: Captioner | None = _f(None, "joycaption, qwen2.5-vl, qwen3-vl or gemini")

    @property
    def given(self) -> dict[str, str]:
        """The addresses that the request gives, by what it says that they hold: images, videos."""
        both = {"images": self.images_url, "videos": self.videos_url}
        return {kind: url for kind, url in both.items() if url is not None}

    @property
    def addresses(self) -> dict[str, str]:
        """Those of `given` that are read: the type may ask for one kind alone."""
        one = self.type if self.type in ("images", "videos") else None
        return {kind: url for kind, url in self.given.items() if one in (None, kind)}


class Training(Part):
    """How it is trained. `extra` are keys that are not documented, `given` the names that the request really has."""

    epochs: Count = _f(100, "a whole number from 1 to 1000000")
    learning_rate: Annotated[Number, Field(gt=0, le=100)] = _f(2e-5, "a number above 0, such as 2e-5")
    batch_size: Annotated[Count, Field(le=1024)] = _f(1, "a whole number from 1 to 1024")
    gradient_accumulation_steps: Annotated[Count, Field(le=100_000)] = _f(
        4, "a whole number from 1 to 100000"
    )
    gradient_clipping: Annotated[Number, Field(ge=0, le=1e6)] = _f(1.0, "a number of at least 0")
    warmup_steps: NoneOrMore = _f(100, "a whole number of at least 0")
    lora_rank: Annotated[Count, Field(le=1024)] = _f(32, "a whole number from 1 to 1024 (usual are 4 to 128)")
    lora_dtype: Dtype = _f("bfloat16", "bfloat16, float16 or float32")
    save_every_n_epochs: Count = _f(10, "a whole number from 1 to 1000000")
    checkpoint_every_n_minutes: Annotated[Number, Field(gt=0, le=1e6)] = _f(
        120, "a number of minutes above 0"
    )
    save_dtype: Dtype = _f("bfloat16", "bfloat16, float16 or float32")
    optimizer_type: Word = _f("adamw_optimi", "the name of an optimizer")
    optimizer_betas: tuple[Share, Share] = _f(
        (0.9, 0.99), "two numbers from 0 to below 1, such as [0.9, 0.99]"
    )
    optimizer_weight_decay: Annotated[Number, Field(ge=0, le=100)] = _f(0.01, "a number from 0 to 100")
    optimizer_eps: Annotated[Number, Field(gt=0, le=1)] = _f(1e-8, "a number above 0, such as 1e-8")
    video_clip_mode: ClipModeName = _f(
        "single_middle", "single_beginning, single_middle or multiple_overlapping"
    )
    frame_buckets: Annotated[
        tuple[Annotated[Whole, Field(ge=1, le=2000)], ...], Field(min_length=1, max_length=64)
    ] = _f((1, 33), "a list of whole numbers from 1 to 2000, such as [1, 33]")
    resolution: Side | tuple[Side, Side] = _f(1024, "a whole number from 64 to 4096, or [width, height]")
    activation_checkpointing: bool | Literal["unsloth"] = _f(True, 'true, false or "unsloth"')
    caching_batch_size: Annotated[Count, Field(le=1024)] = _f(1, "a whole number from 1 to 1024")
    eval_every_n_epochs: NoneOrMore = _f(1, "a whole number of at least 0")
    eval_before_first_step: bool = _f(True, "true or false")
    eval_micro_batch_size_per_gpu: NoneOrMore = _f(1, "a whole number of at least 0")
    eval_gradient_accumulation_steps: NoneOrMore = _f(1, "a whole number of at least 0")
    partition_method: Literal["parameters", "uniform"] = _f("parameters", "parameters or uniform")
    pipeline_stages: Annotated[Whole, Field(ge=1, le=1)] = _f(1, "1, since a job has one GPU")
    steps_per_print: Count = _f(1, "a whole number from 1 to 1000000")
    model_dtype: Dtype = _f("bfloat16", "bfloat16, float16 or float32")
    transformer_dtype: ModelDtype | None = _f(
        None, "bfloat16, float16, float32, float8, float8_e4m3fn or float8_e5m2"
    )
    lr_scheduler: Scheduler | None = _f(None, "constant, linear, cosine, cosine_with_restarts or polynomial")
    max_steps: Annotated[Count, Field(le=100_000_000)] | None = _f(None, "a whole number from 1 to 100000000")
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] | None = _f(None, "a whole number from 0 to 4294967295")
    blocks_to_swap: Annotated[Whole, Field(ge=0, le=200)] | None = _f(None, "a whole number from 0 to 200")
    compile: bool | None = _f(None, "true or false")
    extra: dict[str, Any] = Field({}, repr=False)
    given: frozenset[str] = Field(frozenset(), repr=False)
    asked: dict[str, Any] = Field({}, repr=False, exclude=True)

    def as_asked(self) -> dict[str, Any]:
        """Return the training object as it came."""
        return dict(self.asked)


class HuggingfaceOutput(Part):
    """A repository on the Hugging Face Hub; without `repo_id` one is named after the job."""

    repo_id: Annotated[str, _matching(REPO)] | None = _f(
        None, "the name of a repository, such as user/my-lora"
    )
    private: bool = _f(True, "true or false")


class S3Output(Part):
    """A bucket of an S3 service."""

    bucket: Annotated[str, _matching(BUCKET)] = _f(
        ..., "the name of a bucket (3 to 63 characters: lower-case letters, digits, dots, hyphens)"
    )
    endpoint_url: Text | None = _f(None, "a web address", repr=False)
    region: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] | None = _f(
        None, "the name of a region, such as auto"
    )
    key_prefix: Annotated[str, Field(max_length=500), AfterValidator(_key_prefix)] = _f(
        "diffusion-pipe-outputs", "a path in the bucket without .. in it"
    )


class Output(Part):
    """Where the LoRA goes."""

    method: Method = _f("auto", "auto, huggingface, s3, litterbox, transfer_sh or volume")
    huggingface: HuggingfaceOutput | None = None
    s3: S3Output | None = None


class TrainingRequest(Part):
    """One request: what is trained, on what, how, by which trainer, and where it goes."""

    model_type: str
    engine: EngineName = "auto"
    dataset: Dataset
    training: Training = Training()
    output: Output = Output()

    @property
    def has_videos(self) -> bool:
        """Whether the dataset brings videos."""
        return "videos" in self.dataset.addresses

    @property
    def has_images(self) -> bool:
        """Whether the dataset brings images."""
        return "images" in self.dataset.addresses

    @property
    def model_dtype(self) -> str:
        """The number format of the model besides its transformer."""
        return self.training.model_dtype

    @property
    def transformer_dtype(self) -> str | None:
        """The number format that the transformer is held in, None where it is the trainer's to choose."""
        return self.training.transformer_dtype


def documented(part: type[Part]) -> dict[str, str]:
    """Return the fields that a request can set in a part, each with what it must be."""
    own = ("extra", "given", "asked")
    return {name: str(field.description) for name, field in part.model_fields.items() if name not in own}


def known_of(part: type[Part], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those values that the part has a field for; null counts as not given."""
    names = documented(part)
    return {name: value for name, value in values.items() if name in names and value is not None}
