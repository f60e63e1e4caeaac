"""The keys of diffusion-pipe's TOML files that a job may set, a row each, and where a key belongs.

Read in the source of tdrussell/diffusion-pipe 8f83dbf (2026-08-20): train.py, models/*.py, utils/dataset.py.
Keys that name a path come from the endpoint itself and never from a request; the rest of its keys are not here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from musabi.contract.nearest import nearest as nearest_name
from musabi.engines.diffusion_pipe.values import Bounds, Kind, WrongValueError, convert

Table = Literal["root", "model", "adapter", "optimizer", "dataset"]

SDXL, FLUX, WAN, QWEN, Z_IMAGE = "sdxl", "flux", "wan", "qwen_image", "z_image"
TYPES = (FLUX, SDXL, WAN, QWEN, Z_IMAGE)
"""[model].type of the models that the endpoint has; diffusion-pipe has about twenty more."""
SHIFTED = (FLUX, WAN, QWEN, Z_IMAGE)

DTYPES = ("bfloat16", "float16", "float32")
QUANTIZED = (*DTYPES, "float8", "float8_e4m3fn", "float8_e5m2")
CLIP_MODES = ("single_beginning", "single_middle")
OPTIMIZERS = (
    *(
        "adamw",
        "adamw8bit",
        "adamw_optimi",
        "stableadamw",
        "sgd",
        "adamw8bitkahan",
        "automagic",
        "genericoptim",
    ),
    *("AdaFactor", "Adan", "AdEMAMix", "ADOPT", "CAME", "Lion", "Prodigy", "SOAP", "Tiger"),
)
"""train.py's own names (in any case), then classes of pytorch_optimizer (case matters there)."""


@dataclass(frozen=True)
class Key:
    """One key of a table: what its value is, and for which model types it has a meaning (none: all).

    `asked`: a request may set it. Without that, the endpoint does.
    """

    kind: Kind
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    types: tuple[str, ...] = ()
    asked: bool = True


def _whole(least: float = 1, most: float = 1_000_000) -> Key:
    return Key("int", least=least, most=most)


def _part(least: float = 0.0, most: float | None = None, types: tuple[str, ...] = ()) -> Key:
    return Key("float", least=least, most=most, types=types)


def _path(*types: str) -> Key:
    return Key("path", types=types, asked=False)


FLAG = Key("bool")

TABLES: dict[Table, dict[str, Key]] = {
    "root": {
        "max_steps": _whole(),
        "micro_batch_size_per_gpu": Key("batch", least=1, most=8192),
        "image_micro_batch_size_per_gpu": Key("batch", least=1, most=8192),
        "pipeline_stages": _whole(most=16),
        "gradient_accumulation_steps": _whole(),
        "gradient_clipping": _part(),
        "warmup_steps": _whole(least=0),
        "lr_scheduler": Key("text", choices=("constant", "linear", "cosine")),
        "force_constant_lr": _part(),
        "blocks_to_swap": _whole(least=0, most=200),
        "huber_delta": _part(),
        "smooth_l1_beta": _part(),
        "eval_every_n_epochs": _whole(),
        "eval_before_first_step": FLAG,
        "eval_micro_batch_size_per_gpu": Key("batch", least=1, most=8192),
        "eval_gradient_accumulation_steps": _whole(),
        "disable_block_swap_for_eval": FLAG,
        "checkpoint_every_n_epochs": _whole(),
        "activation_checkpointing": Key("bool or text", choices=("unsloth",)),
        "reentrant_activation_checkpointing": FLAG,
        "partition_method": Key("text", choices=("parameters", "uniform", "manual")),
        "partition_split": Key("ints", least=1, most=1000),
        "save_dtype": Key("text", choices=DTYPES),
        "caching_batch_size": _whole(),
        "map_num_proc": _whole(most=256),
        "compile": FLAG,
        "steps_per_print": _whole(),
        "logging_steps": _whole(),
        "video_clip_mode": Key("text", choices=CLIP_MODES),
        "x_axis_examples": FLAG,
        "uncond_fraction": _part(most=1.0),
    },
    "model": {
        "checkpoint_path": _path(SDXL),
        "diffusers_path": _path(FLUX, QWEN),
        "ckpt_path": _path(WAN),
        "transformer_path": _path(FLUX, WAN, QWEN),
        "llm_path": _path(WAN),
        "text_encoder_path": _path(QWEN),
        "vae_path": _path(QWEN),
        "diffusion_model": _path(Z_IMAGE),
        "vae": _path(Z_IMAGE),
        "text_encoders": Key("encoders", types=(Z_IMAGE,), asked=False),
        "merge_adapters": Key("paths", types=(Z_IMAGE,), asked=False),
        "dtype": Key("text", choices=DTYPES),
        "transformer_dtype": Key("text", choices=QUANTIZED, types=SHIFTED),
        "v_pred": Key("bool", types=(SDXL,)),
        "min_snr_gamma": _part(types=(SDXL,)),
        "debiased_estimation_loss": Key("bool", types=(SDXL,)),
        "unet_lr": _part(types=(SDXL,)),
        "text_encoder_1_lr": _part(types=(SDXL,)),
        "text_encoder_2_lr": _part(types=(SDXL,)),
        "timestep_sample_method": Key("text", choices=("logit_normal", "uniform"), types=SHIFTED),
        "sigmoid_scale": _part(types=SHIFTED),
        "shift": _part(types=SHIFTED),
        "flux_shift": Key("bool", types=SHIFTED),
        "guidance": _part(types=(FLUX,)),
        "bypass_guidance_embedding": Key("bool", types=(FLUX,)),
        "min_t": _part(most=1.0, types=(WAN,)),
        "max_t": _part(most=1.0, types=(WAN,)),
        "text_encoder_fp8": Key("bool", types=(WAN,)),
        "cache_text_embeddings": Key("bool", types=(WAN,)),
    },
    "adapter": {
        "rank": _whole(most=4096),
        "type": Key("text", choices=("lora",)),
        "dtype": Key("text", choices=DTYPES),
        "dropout": _part(most=1.0),
        "exclude_modules": Key("names", types=SHIFTED),
    },
    "optimizer": {
        "type": Key("text", choices=OPTIMIZERS),
        "lr": _part(),
        "betas": Key("floats", least=0.0, most=1.0),
        "weight_decay": _part(),
        "eps": Key("float or floats", least=0.0),
        "momentum": _part(most=1.0),
        "nesterov": FLAG,
        "amsgrad": FLAG,
        "stabilize": FLAG,
        "decouple_lr": FLAG,
        "gradient_release": FLAG,
        "beta2_half_life": _part(),
        "beta2": _part(most=1.0),
        "beta3": _part(most=1.0),
        "d0": _part(),
        "d_coef": _part(),
        "growth_rate": _part(),
        "bias_correction": FLAG,
        "safeguard_warmup": FLAG,
        "weight_decouple": FLAG,
        "min_lr": _part(),
        "max_lr": _part(),
        "lr_bump": _part(),
        "clip_threshold": _part(),
        "correct_bias": FLAG,
        "momentum_type": Key("text", choices=("ema", "sm", "none")),
        "second_moment_type": Key("text", choices=("ema", "none", "sn", "factored")),
        "cpu_offload": FLAG,
        "muon": FLAG,
        "adamuon": FLAG,
        "normuon": FLAG,
        "automagic": FLAG,
    },
    "dataset": {
        "resolutions": Key("sizes", least=64, most=4096),
        "enable_ar_bucket": FLAG,
        "min_ar": _part(least=0.05, most=20.0),
        "max_ar": _part(least=0.05, most=20.0),
        "num_ar_buckets": _whole(most=100),
        "ar_buckets": Key("ratios", least=0.05, most=4096),
        "frame_buckets": Key("ints", least=1, most=2000),
        "shuffle_tags": FLAG,
        "cache_shuffle_num": _whole(least=0, most=1000),
        "cache_shuffle_delimiter": Key("delimiter"),
        "skip_empty_caption": FLAG,
        "online_captions": FLAG,
        "subsample_ratio": _part(most=1.0),
        "shuffle_metadata": FLAG,
    },
}

REFUSED = {
    "alpha": "diffusion-pipe always trains with alpha = rank. Leave alpha out.",
    "caption_prefix": "The trigger word is written into the captions. Use dataset.trigger_word.",
    "save_every_n_steps": "LoRAs are saved by epochs here. Use save_every_n_epochs.",
    "save_every_n_examples": "LoRAs are saved by epochs here. Use save_every_n_epochs.",
    "monitoring": "Weights & Biases is not used here.",
    **dict.fromkeys(
        ("enable_wandb", "wandb_api_key", "wandb_tracker_name", "wandb_run_name"),
        "Weights & Biases is not used here.",
    ),
    **dict.fromkeys(
        ("output_dir", "dataset", "eval_datasets", "path", "mask_path", "control_path", "default_mask_file"),
        "Folders are chosen by the endpoint.",
    ),
    **dict.fromkeys(
        ("init_from_existing", "fuse_adapters"), "LoRAs to begin with can't be named in a request."
    ),
    **dict.fromkeys(("resume_from_checkpoint", "regenerate_cache"), "The endpoint resumes by itself."),
}
"""Keys that diffusion-pipe has and a request can't set, and why."""


def refusal(key: str) -> str | None:
    """Return why a request can't set a key that diffusion-pipe has, as a sentence; None where it can, or has none."""
    if key in REFUSED:
        return REFUSED[key]
    if any(key in rows and not rows[key].asked for rows in TABLES.values()):
        return "The files of a model are chosen by the endpoint."
    return None


def place_of(key: str, model: str) -> Table | None:
    """Return the table that a request's unknown key belongs to for a model type, or None where there is none.

    `type` and `dtype` are in several tables; a request has names of its own for them.
    """
    if key in ("type", "dtype") or refusal(key) is not None:
        return None
    return next((table for table, name in _askable(model) if name == key), None)


def nearest(key: str, model: str) -> str | None:
    """Return the key of this model type that was probably meant, or None."""
    return nearest_name(key, dict.fromkeys(name for _, name in _askable(model)))


def _askable(model: str) -> Iterator[tuple[Table, str]]:
    for table, rows in TABLES.items():
        for name, row in rows.items():
            if row.asked and (not row.types or model in row.types):
                yield table, name


def suited(table: Table, key: str, value: object, model: str) -> Any:  # noqa: ANN401 - as the key's row says
    """Return a key's value as it goes into TOML.

    Raises:
        WrongValueError: the table has no such key for this model type, or the value does not suit it.
    """
    row = TABLES[table].get(key)
    if row is None or (row.types and model not in row.types):
        near = nearest(key, model)
        meant = f" Did you mean {near}?" if near else ""
        raise WrongValueError(f"diffusion-pipe has no {key} for {model} in its table {table}.{meant}")
    try:
        return convert(row.kind, value, Bounds(row.choices, row.least, row.most))
    except WrongValueError as takes:
        raise WrongValueError(f"{key} takes {takes}.") from None
