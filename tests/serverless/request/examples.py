"""Requests as clients in the field send them, and short ways to make others."""

from copy import deepcopy
from pathlib import Path
from typing import Any

from musabi.recipes import names
from musabi.serverless.parts import EngineChoice, JobWeights
from musabi.serverless.request.engine_choice import choose_engine
from musabi.serverless.request.fields import TrainingRequest
from musabi.serverless.request.model import read_request
from musabi.serverless.request.model_types import ORIGINAL, OURS
from musabi.serverless.request.secrets import split_secrets

ALL_NAMES = (*(one.name for one in (*ORIGINAL, *OURS)), *names())
"""Every name of a model that a request can use, aliases left out."""
TOKEN = "hf_a_token_that_nobody_may_see"
QWEN_QUICKSTART: dict[str, Any] = {
    "model_type": "qwen",
    "dataset": {"type": "precaptioned", "images_url": "https://your-storage.com/my_dataset.zip"},
    "training": {"epochs": 100, "lora_rank": 32, "save_every_n_epochs": 20},
    "output": {
        "method": "huggingface",
        "huggingface": {"token": TOKEN, "repo_id": "your-username/my-lora", "private": True},
    },
}
QWEN_SIMPLEST: dict[str, Any] = {
    "model_type": "qwen",
    "dataset": {"type": "precaptioned", "images_url": "https://example.com/images.zip"},
    "output": {"method": "huggingface", "huggingface": {"token": TOKEN, "repo_id": "user/qwen-lora"}},
}
FLUX_AUTOCAPTION: dict[str, Any] = {
    "model_type": "flux",
    "dataset": {
        "type": "images",
        "images_url": "https://example.com/raw_images.zip",
        "trigger_word": "ohwx person",
    },
    "training": {"epochs": 80, "lora_rank": 32},
    "api_keys": {"huggingface_token": TOKEN},
    "output": {"method": "huggingface", "huggingface": {"token": TOKEN, "repo_id": "user/flux-lora"}},
}
WAN_CUSTOM: dict[str, Any] = {
    "model_type": "wan14b_t2v",
    "dataset": {
        "type": "precaptioned",
        "videos_url": "https://example.com/videos.zip",
        "video_repeats": 10,
    },
    "training": {
        "epochs": 200,
        "learning_rate": 1e-05,
        "lora_rank": 64,
        "save_every_n_epochs": 25,
        "gradient_accumulation_steps": 8,
        "video_clip_mode": "multiple_overlapping",
        "frame_buckets": [1, 17, 33, 49],
    },
    "output": {
        "method": "huggingface",
        "huggingface": {"token": TOKEN, "repo_id": "user/wan-video-lora", "private": False},
    },
}
S3_OUTPUT: dict[str, Any] = {
    "method": "s3",
    "s3": {
        "endpoint_url": "https://account.r2.cloudflarestorage.com",
        "bucket": "my-bucket",
        "region": "auto",
        "access_key": TOKEN,
        "secret_key": TOKEN,
        "key_prefix": "lora-outputs",
    },
}
EXAMPLES = {
    "qwen quickstart": QWEN_QUICKSTART,
    "qwen simplest": QWEN_SIMPLEST,
    "flux with captions": FLUX_AUTOCAPTION,
    "wan with videos": WAN_CUSTOM,
    "output s3": {**QWEN_SIMPLEST, "output": S3_OUTPUT},
    "output auto": {**QWEN_SIMPLEST, "output": {"method": "auto"}},
}
FILES = JobWeights({}, Path("/cache"))
PIPE_FILES = {
    "flux": {"diffusers_path": "/models/flux"},
    "sdxl": {"checkpoint_path": "/models/sdxl.safetensors"},
    "wan": {"ckpt_path": "/models/Wan"},
    "qwen_image": {"diffusers_path": "/models/Qwen-Image"},
    "z_image": {
        "diffusion_model": "/models/z.safetensors",
        "vae": "/models/ae.safetensors",
        "text_encoders": [{"path": "/models/qwen.safetensors", "type": "lumina2"}],
    },
}


def an_input(model: str = "qwen", training: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a short input that is right: images, or videos for a model that takes nothing else."""
    media = "videos" if model in ("wan14b_i2v", "framepack") else "images"
    made: dict[str, Any] = {
        "model_type": model,
        "dataset": {"type": "precaptioned", f"{media}_url": "https://example.com/set.zip"},
        "training": training or {},
        "api_keys": {"huggingface_token": TOKEN},
    }
    return deepcopy(made) | more


def a_request(
    model: str = "qwen", training: dict[str, Any] | None = None, **more: Any
) -> tuple[TrainingRequest, EngineChoice]:
    """Return what the input of `an_input` is read as, and who trains it."""
    given, secrets = split_secrets(an_input(model, training, **more))
    request = read_request(given, secrets=secrets)
    return request, choose_engine(request)
