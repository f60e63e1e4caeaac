"""The environment variables, as one typed object: each field below is a row of the README's table.

A variable that is set to something that cannot be right is refused by its name before anything
starts. A job file says the same things with the same names in lower case, and wins over the environment.
"""

import shlex
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from musabi.errors import RequestError
from musabi.job.model import (
    AttentionKind,
    BadLoss,
    DitPrecision,
    NetworkKind,
    OptimizerName,
    OutputName,
    Precision,
)
from musabi.workspace import Workspace

DEFAULT_WORKSPACE = Path("/workspace")
MUSUBI_URL = "https://github.com/kohya-ss/musubi-tuner.git"

_SWITCH = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True}


def _switch(value: object) -> object:
    return _SWITCH.get(value.strip().lower(), value) if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _words(value: object) -> object:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


Switch = Annotated[bool, BeforeValidator(_switch)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[int, Field(ge=1)]
Device = Annotated[str, Field(pattern=r"^(cpu|(cuda|xpu|mps)(:\d+)?)$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PodAction = Literal["none", "stop", "delete"]
Gpus = Annotated[str, Field(pattern=r"^(all|each|[1-9]\d*)$")]
CaptionModel = Literal["joycaption", "qwen2.5-vl", "qwen3-vl"]


def _row(default: Any, why: str, group: Literal["pod", "job"], shown: str = "") -> Any:  # noqa: ANN401 - as pydantic's Field
    return Field(default, description=why, json_schema_extra={"group": group, "shown": shown})


def _pod(default: Any, why: str) -> Any:  # noqa: ANN401 - as pydantic's Field
    return _row(default, why, "pod")


def _job(default: Any, why: str) -> Any:  # noqa: ANN401 - as pydantic's Field
    return _row(default, why, "job")


def _model(why: str, shown: str) -> Any:  # noqa: ANN401 - as pydantic's Field
    """A setting that the model's recipe decides where a person does not; `shown` says how."""
    return _row(None, why, "job", shown)


class Settings(BaseModel):
    """Every environment variable that the product reads. A default of None means: not set.

    Path defaults that begin with /workspace follow WORKSPACE.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)

    jupyter_token: str | None = _pod(None, "JupyterLab's token; one is made where it is not set")
    jupyter_password: str | None = _pod(None, "Runpod's name for JUPYTER_TOKEN, which wins")
    jupyter_port: Port = _pod(8888, "JupyterLab's port")
    jupyter_default_url: str = _pod("/lab", "the page that JupyterLab opens")
    auto_start_tensorboard: Switch = _pod(False, "start TensorBoard with the pod")
    tensorboard_port: Port = _pod(6006, "TensorBoard's port")
    tensorboard_host: str = _pod("127.0.0.1", "the address TensorBoard listens on; 0.0.0.0 opens it to all")
    tensorboard_logdir: Path = _pod(Path("/workspace/logs"), "the folder TensorBoard shows")
    hf_token: str | None = _pod(None, "Hugging Face token, for gated models")
    hf_token_path: Path = _pod(
        Path("~/.cache/huggingface/token"), "file that holds the token; keep it off the network volume"
    )
    hf_max_workers: Count = _pod(16, "files downloaded at the same time")
    skip_model_download: Switch = _pod(False, "bootstrap without the weights")
    run_bootstrap_on_start: Switch = _pod(True, "bootstrap when the pod starts")
    bootstrap_wait: Switch = _pod(False, "finish the bootstrap before JupyterLab starts")
    musubi_repo_url: str = _pod(MUSUBI_URL, "where musubi-tuner is cloned from")
    musubi_ref: str = _pod("v0.3.4", "musubi-tuner's tag, branch or full commit id")
    musubi_python: str = _pod("3.12", "Python of the trainer's environment")
    musubi_cuda_extra: str = _pod("cu128", "PyTorch index of the trainer's environment; cpu for none")
    musubi_torch_version: str = _pod("2.9.1", "torch of the trainer's environment")
    musubi_torchvision_version: str = _pod("0.24.1", "torchvision of the trainer's environment")
    diffusion_pipe_repo_url: str = _pod(
        "https://github.com/tdrussell/diffusion-pipe", "where diffusion-pipe is cloned from, for the endpoint"
    )
    diffusion_pipe_ref: str = _pod(
        "8f83dbf25d03219df705570ec03e62be04bc402f", "diffusion-pipe's full commit id"
    )
    diffusion_pipe_packages_of: str = _pod(
        "2026-08-21T00:00:00Z", "the moment whose newest packages diffusion-pipe's environment gets"
    )
    workspace: Path = _pod(DEFAULT_WORKSPACE, "the folder that everything lies in")
    hf_home: Path = _pod(Path("/workspace/.cache/huggingface"), "the Hugging Face cache")
    hf_hub_enable_hf_transfer: Switch = _pod(
        True, "a wish: reaches the trainer as 1 only where hf_transfer imports there"
    )
    hf_hub_download_timeout: Seconds = _pod(30, "seconds before a silent download is retried")
    hf_hub_etag_timeout: Seconds = _pod(10, "seconds before a silent file query is retried")
    hf_xet_high_performance: Switch = _pod(True, "let Xet use the whole network and all cores")
    musabi_state_dir: Path = _pod(
        Path("~/.local/share/musabi"), "the trainer's environment, on the container's disk"
    )
    musabi_recipes: Path | None = _pod(None, "a folder with recipes of one's own")
    musabi_image: str | None = _pod(None, "the image's name and version; the image sets it")
    public_key: str | None = _pod(None, "SSH key that may log in; Runpod sets it")
    ssh_public_key: str | None = _pod(None, "the same for this pod alone; wins over PUBLIC_KEY")
    on_finish: PodAction = _pod("none", "what to do with the pod when a run is done: none, stop or delete")
    on_error: PodAction = _pod("none", "what to do with the pod when a run failed: none, stop or delete")
    publish_to: str | None = _pod(
        None, "where a finished run goes first: hf:USER/REPO, s3://BUCKET/PREFIX or a folder"
    )
    max_hours: Positive | None = _pod(None, "hours after which the pod is stopped, whatever it does")
    idle_minutes: Positive | None = _pod(
        None, "minutes without work or visitors after which the pod is stopped"
    )
    stop_countdown: Seconds = _pod(120, "seconds between the announcement of a stop and the stop")
    price_per_hour: Positive | None = _pod(
        None, "the pod's price, for musabi cost; Runpod is asked where not set"
    )
    runpod_pod_id: str | None = _pod(None, "this pod's id; Runpod sets it")
    runpod_api_key: str | None = _pod(None, "key that may stop this pod; Runpod sets it")
    runpod_rest_url: str = _pod("https://rest.runpod.io/v1", "Runpod's REST interface")

    engine: Literal["auto", "musubi", "diffusers"] = _job("auto", "the trainer; auto means musubi")
    model: str = _job("z-image", "the model: a name of musabi models list")
    optimizer: Annotated[OptimizerName, BeforeValidator(_lower)] = _job(
        "prodigy", "prodigy, adamw8bit or adamw"
    )
    dit_path: Path | None = _model("the DiT, first shard of several", "the model's file")
    dit_high_noise_path: Path | None = _model("Wan2.2's DiT for high noise", "the model's file")
    unconditional_dit_path: Path | None = _model("Ideogram 4's unconditional DiT", "the model's file")
    vae_path: Path | None = _model("the VAE", "the model's file")
    text_encoder_path: Path | None = _model("the text encoder, first shard of several", "the model's file")
    text_encoder2_path: Path | None = _model("a second text encoder (CLIP-L)", "the model's file")
    clip_path: Path | None = _model("Wan's CLIP", "the model's file")
    byt5_path: Path | None = _model("HunyuanVideo 1.5's ByT5", "the model's file")
    image_encoder_path: Path | None = _model("an image encoder (SigLIP)", "the model's file")
    adapter_path: Path | None = _model(
        "a LoRA that is merged into the model before training", "the model's file"
    )
    dataset_config: Path = _job(Path("/workspace/dataset/dataset.toml"), "the dataset TOML")
    sample_prompts: Path = _job(Path("/workspace/dataset/sample_prompts.txt"), "prompts for samples")
    network_dim: Annotated[int, Field(ge=1, le=1024)] | None = _model(
        "LoRA rank", "the model's; 32 for Z-Image"
    )
    network_alpha: Positive | None = _model("LoRA alpha", "the model's; 16 for Z-Image")
    network_module: NetworkKind = _job("lora", "lora, loha or lokr")
    network_args: Words = _job((), "name=value pairs for the LoRA, such as loraplus_lr_ratio=4")
    prodigy_d_coef: Positive = _job(1.0, "Prodigy: factor on its own learning rate")
    prodigy_safeguard_warmup: Switch = _job(True, "Prodigy: safeguard for runs with warm-up")
    learning_rate: Positive | None = _model(
        "AdamW8bit: learning rate (Prodigy finds its own)", "the model's; 1e-4 for Z-Image"
    )
    max_train_epochs: Count | None = _job(None, "epochs; worked out from TARGET_STEPS where not set")
    max_train_steps: Count | None = _job(None, "optimizer steps after which the run ends")
    target_steps: Count = _job(2500, "optimizer steps to aim at where MAX_TRAIN_EPOCHS is not set")
    save_every_n_epochs: Count | None = _job(None, "epochs between checkpoints; ten a run where not set")
    sample_every_n_epochs: Count | None = _job(None, "epochs between samples; none where not set")
    save_state_every_n_epochs: Count | None = _job(
        None, "epochs between resumable states; with each checkpoint where not set"
    )
    keep_last_states: Count = _job(2, "resumable states that are kept")
    save_precision: Precision = _job("bf16", "number format of the LoRA files")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = _job(42, "seed of everything random")
    output_name: OutputName = _job("character_lora_v1", "name of the LoRA files")
    output_dir: Path = _job(Path("/workspace/output"), "folder of the LoRA files")
    logging_dir: Path = _job(Path("/workspace/logs"), "folder of the TensorBoard logs")
    blocks_to_swap: Annotated[int, Field(ge=0)] | None = _model(
        "DiT blocks kept in main memory to save GPU memory", "what fits"
    )
    attention: AttentionKind = _job("auto", "auto, sdpa, flash_attn, flash3 or xformers")
    dit_precision: DitPrecision = _job("auto", "how the DiT is held: auto, bf16 or fp8")
    gradient_checkpointing: Switch | None = _model(
        "compute activations twice to save GPU memory", "what fits"
    )
    compile: Switch = _job(False, "compile the DiT's blocks with torch")
    data_loader_workers: Annotated[int, Field(ge=0)] | None = _model(
        "processes that load the training data", "by the cores"
    )
    gpus: Gpus = _job("all", "GPUs to train on: all, a number, or each (one run a GPU with its own seed)")
    auto_retry: Switch = _job(False, "on too little GPU memory, try again with settings that take less")
    on_bad_loss: BadLoss = _job("stop", "when the loss breaks: stop or go-on")
    show_timesteps: Literal["console"] | None = _job(
        None, "only show which timesteps would be drawn, as text: console"
    )
    allow_missing_captions: Switch = _job(False, "leave out images that have no caption")
    trigger_word: str | None = _job(None, "a word that every caption must have")
    caption_with: CaptionModel | None = _job(
        None, "caption what has no caption first: joycaption, qwen2.5-vl or qwen3-vl"
    )
    caption_model_path: Path | None = _job(None, "a folder with the captioning model")
    caption_prefix: str | None = _job(None, "text before every caption that is made")
    caption_suffix: str | None = _job(None, "text after every caption that is made")
    extra_cache_args: Words = _job((), "arguments for the trainer's caching scripts")
    extra_train_args: Words = _job((), "arguments for the trainer's training script")
    extra_sample_args: Words = _job((), "arguments for the trainer's generate script")
    text_encoder_batch_size: Count = _job(4, "captions encoded at the same time")
    text_encoder_device: Device | None = _job(None, "device for captions; cuda, or cpu where there is none")
    latent_device: Device | None = _job(None, "device for latents; cuda, or cpu where there is none")
    text_encoder_num_workers: Count = _job(1, "loader threads for captions")
    text_encoder_skip_existing: Switch = _job(True, "keep the caption caches that are still right")
    latent_num_workers: Count = _job(1, "loader threads for images")
    latent_batch_size: Count = _job(1, "images encoded at the same time")
    latent_skip_existing: Switch = _job(True, "keep the latent caches that are still right")
    disable_cudnn_backend: Switch = _job(True, "cache latents without cuDNN, which some drivers need")
    run_latent_cache: Switch = _job(True, "cache latents when preparing")
    run_text_encoder_cache: Switch = _job(True, "cache captions when preparing")
    enable_fp8_llm: Switch | None = _model(
        "hold the text encoder in 8 bits while caching on a GPU", "where it would not fit"
    )

    @property
    def space(self) -> Workspace:
        """The folder layout under WORKSPACE."""
        return Workspace(self.workspace)

    @property
    def child_environment(self) -> dict[str, str]:
        """What every child process gets besides the environment it inherits. Holds no secret."""
        return {
            "HF_HOME": str(self.hf_home),
            "HF_TOKEN_PATH": str(self.hf_token_path),
            "HF_HUB_DOWNLOAD_TIMEOUT": str(self.hf_hub_download_timeout),
            "HF_HUB_ETAG_TIMEOUT": str(self.hf_hub_etag_timeout),
            "HF_XET_HIGH_PERFORMANCE": str(int(self.hf_xet_high_performance)),
            "HF_HUB_ENABLE_HF_TRANSFER": str(int(self.hf_hub_enable_hf_transfer)),
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }


def load(environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings of an environment; `overrides` (field names in lower case) win.

    An empty variable counts as not set where not set is allowed, and is refused where it is not.

    Raises:
        RequestError: a value cannot be right; the message names the variable.
    """
    values: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        text = environ.get(name.upper())
        if text is not None and (text.strip() or field.default is not None):
            values[name] = text
    values |= {name: value for name, value in (overrides or {}).items() if value is not None}
    for name, value in values.items():
        if isinstance(value, str) and not value.strip():
            raise RequestError(f"{name.upper()} is empty. Unset it for the default, {_shown_default(name)}.")
    try:
        settings = Settings.model_validate(values)
    except ValidationError as wrong:
        raise RequestError(_message(wrong, values)) from None
    return _follow_workspace(settings, values)


def table() -> list[tuple[str, str, str, str]]:
    """Return the rows of the README's table: (group, variable, default, what it does)."""
    rows = []
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        rows.append((str(extra["group"]), name.upper(), _shown_default(name), str(field.description)))
    return rows


def of_group(group: Literal["pod", "job"]) -> frozenset[str]:
    """Return the names of a group's settings: those of the machine (pod), or those of a training (job)."""
    return frozenset(name for one, name, _, _ in table() if one == group)


def _follow_workspace(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """Return the settings with absolute paths, path defaults moved under WORKSPACE."""
    moved: dict[str, Path] = {}
    root = _absolute(settings.workspace, "workspace")
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if not isinstance(value, Path):
            continue
        if name not in given and value.is_relative_to(DEFAULT_WORKSPACE):
            value = root / value.relative_to(DEFAULT_WORKSPACE)
        moved[name] = _absolute(value, name)
    return settings.model_copy(update=moved)


def _absolute(path: Path, name: str) -> Path:
    try:
        return Path.cwd() / path.expanduser()
    except RuntimeError:
        raise RequestError(
            f"{name.upper()} is {path}, but this machine has no such user. Write the folder's full path."
        ) from None


def _shown_default(name: str) -> str:
    field = Settings.model_fields[name]
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    if extra.get("shown"):
        return str(extra["shown"])
    default = field.default
    if default is None or default == ():
        return "not set"
    if isinstance(default, bool):
        return str(default).lower() if name == "prodigy_safeguard_warmup" else str(int(default))
    return f"{default:g}" if isinstance(default, float) and default < 0.01 else str(default)


_WORDS: dict[type, str] = {
    bool: "must be 0 or 1",
    int: "must be a whole number",
    float: "must be a number",
    Path: "must be a path",
    str: "must be text",
}


def _expected(field: FieldInfo) -> str:
    kind: Any = field.annotation
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return f"must be one of {', '.join(map(str, get_args(kind)))}"
    return _WORDS.get(kind, "is not allowed")


def _message(wrong: ValidationError, values: Mapping[str, Any]) -> str:
    error = wrong.errors()[0]
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        from difflib import get_close_matches

        near = get_close_matches(name, list(Settings.model_fields), 1)
        return f'There is no setting "{name}".' + (f' Did you mean "{near[0]}"?' if near else "")
    context = error.get("ctx", {})
    bounds = {
        "greater_than_equal": f"must be at least {context.get('ge')}",
        "less_than_equal": f"must be at most {context.get('le')}",
        "greater_than": f"must be more than {context.get('gt', 0):g}",
        "less_than": f"must be less than {context.get('lt', 0):g}",
        "string_pattern_mismatch": "must be cuda, cuda:0 or cpu",
        "value_error": str(context.get("error", "")),
    }
    field = Settings.model_fields[name]
    what = bounds.get(error["type"]) or _expected(field)
    default = _shown_default(name)
    example = "" if default == "not set" or field.default is None else f" The default is {default}."
    return f'{name.upper()} is "{values.get(name)}", but it {what}.{example}'
