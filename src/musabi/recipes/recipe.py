"""What a recipe file holds, typed."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

StepKind = Literal["cache-latents", "cache-text", "train", "sample"]
Role = Literal[
    "dit",
    "dit_high_noise",
    "unconditional_dit",
    "vae",
    "text_encoder",
    "text_encoder2",
    "clip",
    "byt5",
    "image_encoder",
    "adapter",
]
"""What a weight file is for. Each role has a setting, such as DIT_PATH or CLIP_PATH."""
Meaning = Literal[
    "prompt",
    "prompts",
    "folder",
    "file",
    "size",
    "width",
    "height",
    "frames",
    "seconds",
    "steps",
    "guidance",
    "embedded_guidance",
    "flow_shift",
    "negative",
    "seed",
    "lora",
    "multiplier",
    "lora_high",
    "multiplier_high",
    "attention",
    "swap",
    "fps",
    "image",
    "end_image",
    "control",
    "latents",
    "output_type",
    "one_frame",
]
"""What an argument of a generate script says. `prompts` is a file of prompt lines, `folder` and `file` are
where the result goes, `size` takes height and width, `seconds` is frames over fps, `latents` takes kept
latents to decode, `one_frame` names the frames of one-frame inference."""


class Part(BaseModel):
    """A table of a recipe: no unknown keys, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Argument(Part):
    """One argument that a script always gets, and why. Without a value it is a switch."""

    flag: str = Field(pattern=r"^--[a-zA-Z0-9_]+$")
    value: str | None = None
    why: str


class Weights(Part):
    """One set of weight files: where they lie on the hub, and the folder under models/ they go to.

    Recipes that name the same repo and files share them on disk. `gigabytes` (10^9 bytes) is about what
    they take, from the number of parameters where it is not known better. `gated`: the licence must be
    accepted on the repo's page first. `as_folder`: the trainer is given the folder of all the files, no file.
    """

    repo: str
    files: tuple[str, ...] = Field(min_length=1)
    revision: str = "main"
    place: str | None = None
    gigabytes: float = Field(gt=0)
    gated: bool = False
    as_folder: bool = False

    @property
    def first(self) -> str:
        """What a trainer is given of the folder: the only file, the first shard, or "" for the folder itself."""
        return "" if self.as_folder else Path(self.files[0]).name

    @property
    def folder(self) -> str:
        """The folder under models/: the one that is named, else the repo's name."""
        return self.place or self.repo.partition("/")[2]


class Tokenizer(Part):
    """Small files of a repo that the trainer reads from the hub cache, offline, in the named steps.

    `files` must be there; `also` are globs of what is fetched beside them, each for at least one file. Of a
    `folder` everything is fetched.
    """

    repo: str
    folder: str = ""
    files: tuple[str, ...] = Field(min_length=1)
    also: tuple[str, ...] = ()
    steps: tuple[StepKind, ...] = ("cache-text", "sample")


class Script(Part):
    """One script of the trainer, relative to its package.

    `weights` maps arguments to what they take. `while_sampling` are those that the training script needs
    only where it renders samples. `fp8_text_encoder` is the switch that holds the text encoder in 8 bits.
    """

    file: str
    weights: dict[str, Role] = {}
    while_sampling: dict[str, Role] = {}
    always: tuple[Argument, ...] = ()
    fp8_text_encoder: str | None = None


class Sampler(Script):
    """The generate script. `flags` maps what is meant to the argument that says it, "" for positional.

    `attention` maps a kind of attention to the name that the script has for it, `fp8` are the switches that
    hold the DiT in 8 bits. A script without `prompts` is run once a prompt.
    """

    flags: dict[Meaning, str]
    attention: dict[str, str] = {}
    fp8: tuple[str, ...] = ()


class Scripts(Part):
    """The scripts of a model, by step."""

    cache_latents: Script = Field(alias="cache-latents")
    cache_text: Script = Field(alias="cache-text")
    train: Script
    sample: Sampler

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all four."""
        return tuple(one.file for one in (self.cache_latents, self.cache_text, self.train, self.sample))

    def of(self, step: StepKind) -> Script:
        """Return the script of a step that has one of its own."""
        found: Script = getattr(self, step.replace("-", "_"))
        return found


class Network(Part):
    """The network modules by what a person calls them: lora, and loha and lokr where they know the model.

    `modules` are the dotted names of the model's layers that the LoRA trains, with # for a number, as the
    model itself names them; the trainer writes them with underscores. `dim`, `alpha` and `learning_rate`
    (AdamW) are what the trainer's documents recommend for this model.
    """

    lora: str
    loha: str | None = None
    lokr: str | None = None
    modules: tuple[str, ...] = ()
    dim: int = Field(32, ge=1)
    alpha: float = Field(16, gt=0)
    learning_rate: float = Field(1e-4, gt=0)


class Conversion(Part):
    """What ComfyUI reads: the layers' dotted names under `prefix`, or the file as it was trained (native).

    `fused`: layers that ComfyUI keeps as one, each with the trained ones that lie in it, from the first rows
    to the last, such as query, key and value. `strip`: what the trained layers' names begin with and
    ComfyUI's don't; it goes before `prefix` is set.
    """

    to: Literal["dotted", "native"]
    prefix: str = "diffusion_model"
    strip: str = ""
    fused: dict[str, tuple[str, ...]] = {}
    why: str


class DatasetRules(Part):
    """What the model is trained on.

    `control`: how many control images an item has. `bucket_step` in pixels. `fps`: the model's own frame
    rate. `latent_frames`: pixels frames are latent_frames x N + 1. `caption_tokens`: what the text encoder
    takes; the rest is cut off. `keys`: dataset TOML keys that only some models use and this one does.
    """

    takes: tuple[Literal["image", "video"], ...] = ("image",)
    control: Literal["none", "one", "any", "each_index"] = "none"
    multiple_target: bool = False
    bucket_step: int = 16
    fps: float | None = None
    latent_frames: int = 4
    caption_tokens: int | None = None
    caption_is_json: bool = False
    keys: tuple[str, ...] = ()
    example: dict[str, str | int | float | bool | list[int]] = {}


class Limits(Part):
    """What the model can't go beyond.

    `fp8`: how the DiT may be held in 8 bits: "scaled" (fp8_base with fp8_scaled), "base" (fp8_base alone),
    "stored" (the file is in 8 bits already) or "none". `precision`: the mixed precision that it is trained
    in; "file" follows the DiT's own. `checkpointing_offload`, `block_swap_h2d`: whether they have an effect.
    `split_attention`: kinds of attention that see padding or fail in a batch unless --split_attn is given.
    `swap_batch_1`: kinds of attention ("any" for all) that swap blocks only with one image a step.
    `no_swap_with`: arguments of the training script that exclude swapped blocks.
    """

    max_blocks_to_swap: int = Field(ge=0)
    fp8: Literal["scaled", "base", "stored", "none"] = "scaled"
    precision: Literal["bf16", "fp16", "file"] = "bf16"
    attention: tuple[str, ...] = ("sdpa", "flash_attn", "xformers")
    split_attention: tuple[str, ...] = ("xformers",)
    swap_batch_1: tuple[str, ...] = ()
    no_swap_with: tuple[str, ...] = ()
    checkpointing_offload: bool = True
    block_swap_h2d: bool = True


class Memory(Part):
    """What the model takes, for choosing settings that fit.

    `dit_billions`, `text_encoder_billions`: parameters in 10^9. `blocks`: how many blocks of the swapped kind
    would make up the whole DiT. `checkpointed_gib`, `stored_gib`: GiB of activations for one megapixel (one
    latent frame) of batch size 1 with and without gradient checkpointing. `fixed_gib`: everything else
    (CUDA context, LoRA at rank 32, optimizer, buffers). `measured`: on what the numbers were measured; where
    empty, they are worked out from the sizes of the layers.
    """

    dit_billions: float = Field(gt=0)
    text_encoder_billions: float = Field(0, ge=0)
    blocks: int = Field(ge=1)
    checkpointed_gib: float = Field(gt=0)
    stored_gib: float = Field(gt=0)
    fixed_gib: float = 2.0
    min_vram_gib: float = Field(gt=0)
    measured: str = ""


class Sampling(Part):
    """How prompts are rendered where a prompt line doesn't say: sizes in pixels, frames 1 for pictures.

    `prompt_flags` are the flags of a prompt line that this model's samplers use, `prompt_needs` those of them
    that each line must have. `one_frame`: the frames that are given and made in one-frame inference (--of).
    """

    width: int
    height: int
    frames: int = 1
    fps: int | None = None
    steps: int
    guidance: float | None = None
    embedded_guidance: float | None = None
    flow_shift: float | None = None
    multiple: int = 16
    one_frame: str | None = None
    prompt_flags: tuple[str, ...] = ("w", "h", "d", "s", "fs", "l", "n")
    prompt_needs: tuple[str, ...] = ()


class Trap(Part):
    """Something that surprises with this model, and what to do."""

    what: str
    do: str


class Recipe(Part):
    """One model, as one trainer trains it.

    `licence` is that of the weights, in the hub's spelling. `makes` is what comes out. `unusable` are
    arguments that a person might pass on but that can't work with this model, each with what to do.
    `wrong_dits` are patterns of DIT files (FOLDER/NAME) that belong to another recipe, each with what to do.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str
    aliases: tuple[str, ...] = ()
    family: str
    architecture: str
    package: str = "src/musubi_tuner"
    licence: str
    commercial: bool = True
    makes: Literal["image", "video"] = "image"
    weights: dict[Role, Weights]
    tokenizers: tuple[Tokenizer, ...] = ()
    scripts: Scripts
    network: Network
    conversion: Conversion
    dataset: DatasetRules = DatasetRules()
    limits: Limits
    memory: Memory
    sampling: Sampling
    unusable: dict[str, str] = {}
    wrong_dits: dict[str, str] = {}
    traps: tuple[Trap, ...] = ()

    @property
    def caching_roles(self) -> frozenset[str]:
        """The weights that caching takes."""
        scripts = (self.scripts.cache_latents, self.scripts.cache_text)
        return frozenset(role for script in scripts for role in script.weights.values())

    def has(self, role: Role) -> bool:
        """Tell whether the model has weights of this role."""
        return role in self.weights
