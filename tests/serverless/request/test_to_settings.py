"""A request as job.toml: settings that musabi takes, and a command line that musubi-tuner takes."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from musabi.commands.options import job_file_settings
from musabi.contract import committed, faults
from musabi.engines.diffusers.extra import refuse_train
from musabi.engines.musubi import extra
from musabi.engines.musubi.refusals import weight_settings
from musabi.recipes import load, make_job, names
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.parts import EngineChoice, JobWeights
from musabi.serverless.request.engine_choice import choose_engine
from musabi.serverless.request.fields import TrainingRequest
from musabi.serverless.request.model import read_request
from musabi.serverless.request.secrets import split_secrets
from musabi.serverless.request.to_settings import dit_precision, job_toml, train_arguments, untranslated
from musabi.settings import Settings
from serverless.request.examples import EXAMPLES, FILES, a_request

FOLDER = JobFolder(Path("/jobs/one"))


def rows(request: TrainingRequest, choice: EngineChoice, files: JobWeights = FILES) -> dict[str, Any]:
    return tomllib.loads(job_toml(request, choice, files, FOLDER))


def test_the_documented_parameters_become_settings_and_arguments() -> None:
    training = {
        "epochs": 12,
        "learning_rate": 3e-4,
        "lora_rank": 16,
        "save_every_n_epochs": 3,
        "save_dtype": "float32",
        "caching_batch_size": 4,
        "seed": 7,
        "max_steps": 900,
        "blocks_to_swap": 5,
        "compile": True,
        "activation_checkpointing": "unsloth",
        "transformer_dtype": "float8",
        "gradient_clipping": 0.5,
        "gradient_accumulation_steps": 2,
        "warmup_steps": 10,
        "optimizer_type": "AdamW8bit",
        "optimizer_betas": [0.8, 0.95],
        "optimizer_weight_decay": 0.1,
        "optimizer_eps": 1e-6,
    }
    dataset = {"type": "images", "images_url": "https://a.example/x.zip", "trigger_word": "ohwx"}
    request, choice = a_request("qwen", training, dataset=dataset)
    files = JobWeights({"dit_path": Path("/volume/qwen.safetensors")}, Path("/cache"))
    assert rows(request, choice, files) == {
        "engine": "musubi",
        "model": "qwen-image",
        "output_name": "lora",
        "output_dir": "/jobs/one/workspace/output",
        "logging_dir": "/jobs/one/workspace/logs",
        "dataset_config": "/jobs/one/dataset/dataset.toml",
        "sample_prompts": "/jobs/one/dataset/sample_prompts.txt",
        "trigger_word": "ohwx",
        "network_dim": 16,
        "network_alpha": 16.0,
        "max_train_epochs": 12,
        "max_train_steps": 900,
        "save_every_n_epochs": 3,
        "save_precision": "float",
        "latent_batch_size": 4,
        "seed": 7,
        "blocks_to_swap": 5,
        "compile": True,
        "gradient_checkpointing": True,
        "dit_precision": "fp8",
        "optimizer": "adamw8bit",
        "learning_rate": 3e-4,
        "dit_path": "/volume/qwen.safetensors",
        "extra_train_args": [
            *("--gradient_accumulation_steps", "2", "--max_grad_norm", "0.5"),
            *("--lr_scheduler", "constant_with_warmup", "--lr_warmup_steps", "10"),
            *("--optimizer_args", "betas=0.8,0.95", "weight_decay=0.1", "eps=1e-06"),
            "--gradient_checkpointing_cpu_offload",
        ],
    }
    assert untranslated(request, choice) == ()


@pytest.mark.parametrize("name", [name for name in EXAMPLES if "flux" not in name])
def test_every_example_for_musubi_tuner_makes_a_job_that_musabi_reads(name: str, tmp_path: Path) -> None:
    given, secrets = split_secrets(EXAMPLES[name])
    request = read_request(given, secrets=secrets)
    choice = choose_engine(request)
    file = tmp_path / "job.toml"
    file.write_text(job_toml(request, choice, FILES, JobFolder(tmp_path)))
    job = make_job(job_file_settings(file, {}))
    assert (job.model, job.engine, job.network_alpha) == (choice.model, "musubi", job.network_dim)
    assert job.max_train_epochs == request.training.epochs
    assert job.output_dir == tmp_path / "workspace" / "output"


VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"optimizer_type": "prodigy"},
    {"optimizer_type": "prodigy", "warmup_steps": 5, "optimizer_betas": [0.9, 0.999], "learning_rate": 0.5},
    {"optimizer_type": "adafactor", "lr_scheduler": "cosine"},
    {"optimizer_type": "sgd", "gradient_accumulation_steps": 1, "gradient_clipping": 0},
    {"optimizer_type": "nadam", "lr_scheduler": "constant", "warmup_steps": 0},
    {"discrete_flow_shift": 3.1, "network_dropout": 0.1, "split_attn": True, "min_timestep": 10},
    {"activation_checkpointing": "unsloth", "max_data_loader_n_workers": 2},
)


@pytest.mark.parametrize("training", VARIANTS)
@pytest.mark.parametrize("model", ["qwen", "wan13", "z_image", "flux2-dev"])
def test_musubi_tuner_takes_the_arguments_and_musabi_sets_none_of_them_itself(
    model: str, training: dict[str, Any]
) -> None:
    request, choice = a_request(model, training, engine="musubi")
    recipe, made = load(choice.model), train_arguments(request, choice)
    known = {one.message for one in faults(committed(), recipe.scripts.train.file, ())}
    found = faults(committed(), recipe.scripts.train.file, made)
    assert [one.message for one in found if one.message not in known] == []
    accumulation = "--gradient_accumulation_steps"
    passed_on = [part for group in extra.groups(made) if group[0] != accumulation for part in group]
    extra.refuse_owned(passed_on, weight_settings(recipe))
    extra.refuse_unusable(made, recipe.unusable)
    extra.refuse_values(made)
    extra.refuse_combinations(made)
    assert len(extra.flags(made)) == len(extra.groups(made))


def test_the_learning_rate_is_constant_after_a_warm_up_as_in_the_original() -> None:
    made = train_arguments(*a_request("qwen"))
    assert extra.value_of(made, "--lr_scheduler") == "constant_with_warmup"
    assert extra.value_of(made, "--lr_warmup_steps") == "100"


def test_prodigy_is_left_as_musabi_trains_it_where_nothing_was_asked_for() -> None:
    request, choice = a_request("qwen", {"optimizer_type": "prodigy"})
    assert rows(request, choice)["optimizer"] == "prodigy"
    assert train_arguments(request, choice) == ("--gradient_accumulation_steps", "4")


def test_prodigy_keeps_what_musabi_always_gives_it_where_a_request_changes_some_of_it() -> None:
    made = train_arguments(*a_request("qwen", {"optimizer_type": "prodigy", "optimizer_betas": [0.9, 0.999]}))
    assert made[2:] == (
        *("--optimizer_args", "decouple=True", "use_bias_correction=True", "safeguard_warmup=True"),
        *("d_coef=1.0", "betas=0.9,0.999", "weight_decay=0.01", "eps=1e-08"),
    )


def test_an_optimizer_that_musabi_has_no_name_for_goes_by_an_allowed_one() -> None:
    request, choice = a_request("qwen", {"optimizer_type": "AdaFactor"})
    made = train_arguments(request, choice)
    assert extra.value_of(made, "--optimizer_type") == "Adafactor"
    assert "relative_step=False" in made and not any(part.startswith("betas") for part in made)


NOTES: tuple[tuple[str, dict[str, Any], str, str], ...] = (
    ("qwen", {"eval_every_n_epochs": 2}, "auto", "there is no evaluation dataset"),
    ("qwen", {"checkpoint_every_n_minutes": 5}, "auto", "states are saved with each LoRA"),
    (
        "qwen",
        {"optimizer_type": "sgd", "optimizer_betas": [0.5, 0.5]},
        "auto",
        "no effect with the optimizer sgd",
    ),
    ("z_image_turbo", {"transformer_dtype": "float8"}, "auto", "is not held so"),
    ("z_image", {"gradient_accumulation_steps": 4}, "diffusers", "each batch is a step"),
    ("z_image", {"blocks_to_swap": 4, "compile": True}, "diffusers", "can't swap blocks"),
    ("flux", {"seed": 4}, "auto", "no such setting"),
    ("sdxl", {"transformer_dtype": "float8"}, "auto", "SDXL has no transformer"),
)


@pytest.mark.parametrize(("model", "training", "engine", "message"), NOTES)
def test_what_has_no_effect_is_said(model: str, training: dict[str, Any], engine: str, message: str) -> None:
    assert message in " ".join(untranslated(*a_request(model, training, engine=engine)))


def test_nothing_is_said_of_what_a_request_left_out() -> None:
    for model, engine in (("qwen", "auto"), ("flux", "auto"), ("z_image", "diffusers")):
        assert untranslated(*a_request(model, engine=engine)) == ()


@pytest.mark.parametrize(
    "training", [{}, {"optimizer_type": "prodigy", "warmup_steps": 3}, {"sigmoid_scale": 1.1}]
)
def test_the_embedded_engine_takes_what_it_is_given(training: dict[str, Any]) -> None:
    request, choice = a_request("z_image", training, engine="diffusers")
    refuse_train(train_arguments(request, choice))
    made = rows(request, choice)
    assert made["engine"] == "diffusers"
    assert not {"blocks_to_swap", "compile", "dit_precision"} & made.keys()


def test_a_model_that_is_merged_with_an_adapter_is_never_asked_to_be_held_in_8_bits() -> None:
    request, choice = a_request("z_image_turbo", {"transformer_dtype": "float8"})
    assert "dit_precision" not in rows(request, choice)
    turbo = load("z-image-turbo")
    scaled = turbo.model_copy(update={"limits": turbo.limits.model_copy(update={"fp8": "scaled"})})
    assert dit_precision("float8", scaled) is None
    request, choice = a_request("z_image", {"transformer_dtype": "bfloat16"})
    assert rows(request, choice)["dit_precision"] == "bf16"


@pytest.mark.parametrize(
    "word", ['a"\nmodel = "evil', "x'''", "back\\slash", "#", "[table]", "ключ", "a = 1"]
)
def test_no_text_of_a_request_injects_a_key(word: str) -> None:
    word = word.replace("\n", " ")
    dataset = {"type": "images", "images_url": "https://a.example/x.zip", "trigger_word": word}
    request, choice = a_request("qwen", dataset=dataset)
    made = rows(request, choice)
    assert made["trigger_word"] == word
    assert made["model"] == "qwen-image"
    assert made.keys() <= Settings.model_fields.keys()


def test_every_model_that_takes_images_makes_settings_that_musabi_knows() -> None:
    for name in names():
        recipe = load(name)
        if (
            recipe.dataset.control in ("none", "any")
            and "image" in recipe.dataset.takes
            and "-i2v" not in name
        ):
            if recipe.dataset.multiple_target:
                continue
            assert rows(*a_request(name)).keys() <= Settings.model_fields.keys()
