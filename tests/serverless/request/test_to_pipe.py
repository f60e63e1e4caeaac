"""A request as pipe.json: every key at its table, as diffusion-pipe's engine takes it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from musabi.engines.diffusion_pipe.config import config_toml
from musabi.engines.diffusion_pipe.config import dataset_toml as pipe_dataset
from musabi.engines.diffusion_pipe.job import PipeJob, read_job
from musabi.engines.diffusion_pipe.places import PipePlaces
from musabi.serverless.parts import JobWeights
from musabi.serverless.request.mistakes import Refused
from musabi.serverless.request.model_types import of_model
from musabi.serverless.request.to_pipe import pipe_job
from musabi.workspace import Workspace
from serverless.request.examples import PIPE_FILES, a_request

SEVEN = ("flux", "sdxl", "wan13", "wan14b_t2v", "wan14b_i2v", "qwen", "z_image_turbo")
URL = "https://a.example/x.zip"


def a_job(model: str, training: dict[str, Any] | None = None, **more: Any) -> PipeJob:
    request, choice = a_request(model, training, engine="diffusion_pipe", **more)
    files = JobWeights(dict(PIPE_FILES[str(of_model(choice.model).pipe)]), Path("/cache"))
    images = Path("/job/images") if request.has_images else None
    return pipe_job(request, choice, files, images, Path("/job/clips") if request.has_videos else None)


def toml_of(job: PipeJob) -> dict[str, Any]:
    return tomllib.loads(config_toml(job, PipePlaces(Workspace(Path("/job/workspace")))))


@pytest.mark.parametrize("model", SEVEN)
def test_a_request_without_wishes_makes_the_original_s_toml(model: str) -> None:
    job = a_job(model)
    made = toml_of(job)
    assert (job.type, job.epochs, job.save_every_n_epochs) == (of_model(model).pipe, 100, 10)
    assert made["optimizer"] == {
        "type": "adamw_optimi",
        "lr": 2e-5,
        "betas": [0.9, 0.99],
        "weight_decay": 0.01,
        "eps": 1e-8,
    }
    assert made["adapter"] == {"type": "lora", "rank": 32, "dtype": "bfloat16"}
    expected = {
        "gradient_accumulation_steps": 4,
        "warmup_steps": 100,
        "gradient_clipping": 1.0,
        "micro_batch_size_per_gpu": 1,
        "checkpoint_every_n_minutes": 120,
        "activation_checkpointing": True,
        "save_dtype": "bfloat16",
    }
    assert {key: made[key] for key in expected} == expected
    assert made["model"].get("transformer_dtype") == ("float8" if model in ("flux", "qwen") else None)


def test_documented_parameters_go_to_their_tables() -> None:
    training = {
        "epochs": 5,
        "learning_rate": "1e-4",
        "lora_rank": 64,
        "lora_dtype": "float16",
        "batch_size": 2,
        "gradient_accumulation_steps": 1,
        "optimizer_type": "Prodigy",
        "optimizer_betas": [0.9, 0.999],
        "transformer_dtype": "bfloat16",
        "activation_checkpointing": "unsloth",
        "resolution": [768, 512],
        "max_steps": 50,
        "blocks_to_swap": 3,
        "lr_scheduler": "cosine",
    }
    made = toml_of(a_job("flux", training))
    assert made["optimizer"]["type"] == "Prodigy" and made["optimizer"]["lr"] == 1e-4
    assert made["adapter"]["rank"] == 64 and made["adapter"]["dtype"] == "float16"
    assert made["model"]["transformer_dtype"] == "bfloat16"
    root = {"micro_batch_size_per_gpu": 2, "max_steps": 50, "blocks_to_swap": 3, "lr_scheduler": "cosine"}
    assert {key: made[key] for key in root} == root
    assert made["activation_checkpointing"] == "unsloth"
    assert a_job("flux", training).dataset["resolutions"] == [[768, 512]]


def test_prodigy_finds_its_own_rate_unless_one_is_given() -> None:
    assert a_job("sdxl", {"optimizer_type": "prodigy"}).optimizer["lr"] == 1.0


UNKNOWN = (
    ("flux", {"guidance": 3.5}, "model", "guidance"),
    ("flux", {"shift": 3}, "model", "shift"),
    ("sdxl", {"v_pred": True}, "model", "v_pred"),
    ("sdxl", {"unet_lr": 1e-5}, "model", "unet_lr"),
    ("flux", {"dropout": 0.1}, "adapter", "dropout"),
    ("qwen", {"gradient_release": True}, "optimizer", "gradient_release"),
    ("sdxl", {"reentrant_activation_checkpointing": True}, None, "reentrant_activation_checkpointing"),
)


@pytest.mark.parametrize(("model", "training", "table", "key"), UNKNOWN)
def test_unknown_keys_reach_the_right_table(
    model: str, training: dict[str, Any], table: str | None, key: str
) -> None:
    made = toml_of(a_job(model, training))
    assert (made[table] if table else made)[key] == training[key]


def test_keys_of_the_dataset_reach_its_toml() -> None:
    made = tomllib.loads(pipe_dataset(a_job("flux", {"min_ar": 0.7, "shuffle_tags": True})))
    assert made["min_ar"] == 0.7 and made["shuffle_tags"] is True
    assert made["directory"] == [{"path": "/job/images", "num_repeats": 1}]


REFUSED = (
    ("flux", {"alpha": 16}, "alpha = rank"),
    ("flux", {"output_dir": "/etc"}, "Folders are chosen by the endpoint"),
    ("flux", {"transformer_path": "/etc/passwd"}, "files of a model are chosen"),
    ("flux", {"init_from_existing": "/x"}, "can't be named in a request"),
    ("flux", {"wandb_api_key": "k"}, "Weights & Biases"),
    ("flux", {"monitoring": {"enable_wandb": True}}, "Weights & Biases"),
    ("flux", {"v_pred": True}, "is no parameter of Flux with diffusion-pipe"),
    ("flux", {"guidnace": 3}, "Did you mean guidance"),
    ("flux", {"network_dim": 3}, "Use lora_rank"),
    ("flux", {"guidance": "x'\n[evil]"}, "guidance takes a number"),
    ("flux", {"cache_shuffle_delimiter": "'\n[optimizer]\ntype='x"}, "cache_shuffle_delimiter takes"),
    ("sdxl", {"a]\n[model": 1}, "is no parameter of SDXL"),
    ("sdxl", {"dataset": {"path": "/etc"}}, "Folders are chosen"),
)


@pytest.mark.parametrize(("model", "training", "message"), REFUSED)
def test_what_a_request_can_t_set_is_refused(model: str, training: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        a_request(model, training)
    assert refused.value.mistakes[0].message.isprintable()


def test_clips_go_to_buckets_of_their_lengths() -> None:
    dataset = {"type": "precaptioned", "videos_url": URL, "images_url": URL, "image_repeats": 2}
    job = a_job("wan13", {"frame_buckets": [1, 18, 33]}, dataset=dataset)
    assert job.dataset["frame_buckets"] == [1, 17, 33]
    assert job.dataset["resolutions"] == [[832, 480]]
    assert job.directories == ((Path("/job/images"), 2), (Path("/job/clips"), 5))


def test_the_job_is_written_and_read_by_its_engine(tmp_path: Path) -> None:
    dataset = {"type": "images", "images_url": URL, "trigger_word": "oh'\"wx"}
    job = a_job("flux", dataset=dataset)
    job.write(tmp_path)
    assert read_job(tmp_path) == job
    assert job.trigger == "oh'\"wx"
