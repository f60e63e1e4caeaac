"""The TOML files of the API's model types, as diffusion-pipe wants them."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from musabi.engines.diffusion_pipe.config import config_toml, dataset_toml
from musabi.engines.diffusion_pipe.job import PipeJob
from musabi.engines.diffusion_pipe.places import PipePlaces
from musabi.workspace import Workspace

PLACES = PipePlaces(Workspace(Path("/jobs/1/workspace")))
Z_IMAGE = "/models/z_image_turbo/split_files"
ADAPTER = "/models/zimage_turbo_training_adapter_v2.safetensors"
LOGIT = {"timestep_sample_method": "logit_normal"}
SEVEN: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "flux": (
        "flux",
        {"diffusers_path": "/models/flux"},
        {"transformer_dtype": "float8", "flux_shift": True},
    ),
    "sdxl": ("sdxl", {"checkpoint_path": "/models/sdXL_v10VAEFix.safetensors"}, {}),
    "wan13": ("wan", {"ckpt_path": "/models/Wan2.1-T2V-1.3B"}, LOGIT),
    "wan14b_t2v": ("wan", {"ckpt_path": "/models/Wan2.1-T2V-14B"}, LOGIT),
    "wan14b_i2v": ("wan", {"ckpt_path": "/models/Wan2.1-I2V-14B-480P"}, LOGIT),
    "qwen": (
        "qwen_image",
        {"diffusers_path": "/models/Qwen-Image"},
        {"transformer_dtype": "float8", **LOGIT},
    ),
    "z_image_turbo": (
        "z_image",
        {
            "diffusion_model": f"{Z_IMAGE}/diffusion_models/z_image_turbo_bf16.safetensors",
            "vae": f"{Z_IMAGE}/vae/ae.safetensors",
            "text_encoders": [{"path": f"{Z_IMAGE}/text_encoders/qwen_3_4b.safetensors", "type": "lumina2"}],
            "merge_adapters": [ADAPTER],
        },
        {},
    ),
}


def a_job(model_type: str, **more: Any) -> PipeJob:
    kind, files, _ = SEVEN[model_type]
    values: dict[str, Any] = {
        "model_type": model_type,
        "type": kind,
        "model": files,
        "adapter": {"rank": 32},
        "optimizer": {},
        "directories": [("/data/images", 1), ("/data/videos", 5)],
        "output_name": "lora",
        "epochs": 100,
        "save_every_n_epochs": 10,
    }
    return PipeJob.model_validate(values | more)


def config(job: PipeJob) -> dict[str, Any]:
    return tomllib.loads(config_toml(job, PLACES))


@pytest.mark.parametrize("model_type", SEVEN)
def test_each_model_type_gets_its_own_keys_and_the_defaults_of_the_api(model_type: str) -> None:
    kind, files, defaults = SEVEN[model_type]
    made = config(a_job(model_type))
    assert made.pop("model") == {"type": kind, "dtype": "bfloat16", **files, **defaults}
    assert made.pop("adapter") == {"type": "lora", "rank": 32, "dtype": "bfloat16"}
    assert made.pop("optimizer") == {
        "type": "adamw_optimi",
        "lr": 2e-5,
        "betas": [0.9, 0.99],
        "weight_decay": 0.01,
        "eps": 1e-8,
    }
    assert made == {
        "output_dir": "/jobs/1/workspace/diffusion_pipe/trainings",
        "dataset": "/jobs/1/workspace/diffusion_pipe/dataset.toml",
        "epochs": 100,
        "micro_batch_size_per_gpu": 1,
        "pipeline_stages": 1,
        "gradient_accumulation_steps": 4,
        "gradient_clipping": 1.0,
        "warmup_steps": 100,
        "activation_checkpointing": True,
        "partition_method": "parameters",
        "save_dtype": "bfloat16",
        "caching_batch_size": 1,
        "steps_per_print": 1,
        "video_clip_mode": "single_middle",
        "save_every_n_epochs": 10,
        "checkpoint_every_n_minutes": 120.0,
    }


def test_the_dataset_has_a_directory_a_kind_and_no_caption_prefix() -> None:
    made = tomllib.loads(
        dataset_toml(a_job("wan13", dataset={"resolutions": [480], "frame_buckets": [1, 33, 65]}))
    )
    assert made["directory"] == [
        {"path": "/data/images", "num_repeats": 1},
        {"path": "/data/videos", "num_repeats": 5},
    ]
    assert made["resolutions"] == [480] and made["frame_buckets"] == [1, 33, 65]
    assert (made["min_ar"], made["max_ar"], made["num_ar_buckets"]) == (0.5, 2.0, 7)
    assert made["skip_empty_caption"] is True and "caption_prefix" not in made


def test_aspect_ratios_that_are_named_replace_the_range() -> None:
    made = tomllib.loads(dataset_toml(a_job("flux", dataset={"ar_buckets": [1.0, 1.5]})))
    assert made["ar_buckets"] == [1.0, 1.5] and "min_ar" not in made


@pytest.mark.parametrize(
    ("model_type", "key"),
    [
        ("flux", "transformer_dtype"),
        ("qwen", "transformer_dtype"),
        ("z_image_turbo", "diffusion_model_dtype"),
    ],
)
def test_the_weights_dtype_stands_under_the_name_that_the_model_reads(model_type: str, key: str) -> None:
    job = a_job(model_type, model=SEVEN[model_type][1] | {"transformer_dtype": "float8_e5m2"})
    made = config(job)["model"]
    assert made[key] == "float8_e5m2"
    assert {"transformer_dtype", "diffusion_model_dtype"} & set(made) == {key}


def test_another_optimizer_gets_no_keys_that_it_may_not_know() -> None:
    made = config(a_job("flux", optimizer={"type": "prodigy", "lr": 1}))["optimizer"]
    assert made == {"type": "Prodigy", "lr": 1.0}


def test_it_is_always_said_how_often_loras_are_saved() -> None:
    assert config(a_job("flux", epochs=3, save_every_n_epochs=10))["save_every_n_epochs"] == 3


def test_states_are_saved_by_one_clock_only() -> None:
    made = config(a_job("flux", root={"checkpoint_every_n_epochs": 2}))
    assert made["checkpoint_every_n_epochs"] == 2 and "checkpoint_every_n_minutes" not in made


def test_a_fixed_shift_replaces_the_default_one() -> None:
    made = config(a_job("flux", model={"diffusers_path": "/models/flux", "shift": 3}))["model"]
    assert made["shift"] == 3.0 and "flux_shift" not in made
