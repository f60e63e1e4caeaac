"""The metadata of a LoRA file as musubi-tuner v0.3.4 writes it (trainer_base.py, sai_model_spec.py)."""

import datetime
import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from musabi.dataset.config import DatasetConfig


def training_metadata(args: Any, config: DatasetConfig, facts: Mapping[str, object]) -> dict[str, str]:  # noqa: ANN401
    """Return the `ss_*` entries that hold for a whole run; `facts` adds those that the run worked out."""
    values = {
        "ss_output_name": args.output_name,
        "ss_learning_rate": args.learning_rate,
        "ss_gradient_checkpointing": args.gradient_checkpointing,
        "ss_gradient_checkpointing_cpu_offload": False,
        "ss_gradient_accumulation_steps": 1,
        "ss_lr_warmup_steps": args.lr_warmup_steps,
        "ss_lr_scheduler": args.lr_scheduler,
        "ss_base_model_version": "z_image",
        "ss_network_module": "networks.lora_zimage",
        "ss_network_dim": args.network_dim,
        "ss_network_alpha": args.network_alpha,
        "ss_network_dropout": None,
        "ss_seed": args.seed,
        "ss_training_comment": None,
        "ss_max_grad_norm": args.max_grad_norm,
        "ss_fp8_base": False,
        "ss_full_fp16": False,
        "ss_full_bf16": False,
        "ss_weighting_scheme": "none",
        "ss_timestep_sampling": "shift",
        "ss_sigmoid_scale": args.sigmoid_scale,
        "ss_discrete_flow_shift": args.discrete_flow_shift,
        "ss_datasets": json.dumps([_dataset(dataset) for dataset in config.datasets]),
        "ss_sd_model_name": args.dit.name,
        "ss_training_started_at": time.time(),
    }
    if args.vae is not None:
        values["ss_vae_name"] = args.vae.name
    return {name: str(value) for name, value in {**values, **facts}.items()}


def _dataset(dataset: Any) -> dict[str, object]:  # noqa: ANN401 - ImageDataset
    made: dict[str, object] = {
        "resolution": list(dataset.resolution),
        "caption_extension": dataset.caption_extension,
        "batch_size_per_device": dataset.batch_size,
        "num_repeats": dataset.num_repeats,
        "enable_bucket": dataset.enable_bucket,
        "bucket_no_upscale": dataset.bucket_no_upscale,
        "has_control": False,
    }
    if dataset.jsonl is None:
        made["image_directory"] = dataset.image_directory.name
    else:
        made["image_jsonl_file"] = dataset.jsonl.name
    return made


def file_metadata(training: Mapping[str, str], title: str, step: int, epoch: int) -> dict[str, str]:
    """Return all entries of one file but its hashes: the run's, what was done so far, and modelspec's."""
    now = time.time()
    return {
        **training,
        "ss_training_finished_at": str(now),
        "ss_steps": str(step),
        "ss_epoch": str(epoch),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": "Z-Image/lora",
        "modelspec.implementation": "https://github.com/Tongyi-MAI/Z-Image",
        "modelspec.title": title,
        "modelspec.date": datetime.datetime.fromtimestamp(int(now)).isoformat(),
        "modelspec.resolution": "1024x1024",
    }


def whole_file(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of the safetensors file, with the hashes that model browsers index by.

    The model hash is the sha256 of the tensors' bytes, the legacy hash that of 64 KiB behind the first MiB of
    a file whose metadata is the `ss_*` entries alone (musubi-tuner, utils/model_utils.py).
    """
    from safetensors.torch import save

    lasting = {name: value for name, value in metadata.items() if name.startswith("ss_")}
    plain = save(dict(tensors), lasting)
    start = 8 + int.from_bytes(plain[:8], "little")
    hashes = {
        "sshs_model_hash": hashlib.sha256(plain[start:]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(plain[0x100000:0x110000]).hexdigest()[:8],
    }
    made: bytes = save(dict(tensors), {**metadata, **hashes})
    return made
