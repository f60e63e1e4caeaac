"""What is wanted: one training job, typed and validated, free of any engine's terms."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

OptimizerName = Literal["prodigy", "adamw8bit", "adamw"]
EngineName = Literal["musubi", "diffusers"]
Precision = Literal["bf16", "fp16", "float"]
NetworkKind = Literal["lora", "loha", "lokr"]
AttentionKind = Literal["auto", "sdpa", "flash_attn", "flash3", "xformers"]
DitPrecision = Literal["auto", "bf16", "fp8"]
BadLoss = Literal["stop", "go-on"]


def _plain_file_name(name: str) -> str:
    wrong = any(c in name for c in "/\\[]*?") or not name.isprintable() or name.startswith((".", "-"))
    if wrong or not name or name != name.strip():
        raise ValueError(
            "must be a plain file name without slashes, brackets, stars or a leading dot or dash"
        )
    if len(name.encode()) > 150:
        raise ValueError("must be at most 150 bytes long")
    return name


OutputName = Annotated[str, AfterValidator(_plain_file_name)]


class Caching(BaseModel):
    """How latents and text-encoder outputs are cached."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_latents: bool = True
    run_text: bool = True
    latent_device: str | None = None
    text_device: str | None = None
    latent_batch_size: int = Field(1, ge=1)
    text_batch_size: int = Field(4, ge=1)
    latent_workers: int = Field(1, ge=1)
    text_workers: int = Field(1, ge=1)
    latent_skip_existing: bool = True
    text_skip_existing: bool = True
    fp8_text_encoder: bool | None = None
    disable_cudnn_backend: bool = True


class Job(BaseModel):
    """One LoRA to train. Lengths of schedules are in epochs, sizes in pixels.

    `weights` holds the model's files by role (dit, vae, text_encoder, ...), the first shard of several. What
    is None is chosen when the run is planned. `gpus` is None for all that are visible.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: EngineName = "musubi"
    model: str = "z-image"
    output_name: OutputName = "character_lora_v1"
    output_dir: Path
    logging_dir: Path
    dataset_config: Path
    sample_prompts: Path
    weights: dict[str, Path]

    network_module: NetworkKind = "lora"
    network_args: tuple[str, ...] = ()
    network_dim: int = Field(32, ge=1, le=1024)
    network_alpha: float = Field(16, gt=0, allow_inf_nan=False)
    optimizer: OptimizerName = "prodigy"
    learning_rate: float = Field(1e-4, gt=0, allow_inf_nan=False)
    prodigy_d_coef: float = Field(1.0, gt=0, allow_inf_nan=False)
    prodigy_safeguard_warmup: bool = True
    max_train_epochs: int | None = Field(None, ge=1)
    max_train_steps: int | None = Field(None, ge=1)
    target_steps: int = Field(2500, ge=1)
    save_every_n_epochs: int | None = Field(None, ge=1)
    save_state_every_n_epochs: int | None = Field(None, ge=1)
    sample_every_n_epochs: int | None = Field(None, ge=1)
    keep_last_states: int = Field(2, ge=1)
    save_precision: Precision = "bf16"
    seed: int = Field(42, ge=0, lt=2**32)
    blocks_to_swap: int | None = Field(None, ge=0)
    attention: AttentionKind = "auto"
    dit_precision: DitPrecision = "auto"
    gradient_checkpointing: bool | None = None
    compile: bool = False
    data_loader_workers: int | None = Field(None, ge=0)
    gpus: int | None = Field(None, ge=1)
    auto_retry: bool = False
    on_bad_loss: BadLoss = "stop"
    show_timesteps: Literal["console"] | None = None
    allow_missing_captions: bool = False
    trigger_word: str | None = None

    caching: Caching = Caching()
    extra_cache_args: tuple[str, ...] = ()
    extra_train_args: tuple[str, ...] = ()
    extra_sample_args: tuple[str, ...] = ()

    @property
    def dit(self) -> Path:
        """The DiT's file, the first shard of several."""
        return self.weights["dit"]

    @property
    def vae(self) -> Path:
        """The VAE's file."""
        return self.weights["vae"]

    @property
    def text_encoder(self) -> Path:
        """The text encoder's file, the first shard of several."""
        return self.weights["text_encoder"]
