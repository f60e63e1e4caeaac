"""Which of musubi-tuner's arguments a request may set: every one of v0.3.4 is looked at."""

import re
from typing import Any

import pytest

from musabi.contract import committed
from musabi.engines.musubi.extra import OWNED, SECRET, flags
from musabi.recipes import load, names
from musabi.serverless.request.allowlist import ALLOWED, allowed_for, arguments
from musabi.serverless.request.mistakes import Refused
from musabi.serverless.request.to_settings import train_arguments
from serverless.request.examples import a_request

DANGEROUS = re.compile(
    r"_(path|dir|file|url|token|key|module|args|config|name|weights|type|prefix|id|repo|comment)$"
    r"|^(dit|vae|text_encoder|clip|t5|byt5|image_encoder|resume|base_weights|network_weights|wandb|huggingface"
    r"|log_|logging|sample|output|config|dataset|save|turbo_dit|override|unconditional|metadata|task|async|show|edit)"
)
"""Names of arguments that say a path, a module or class, a host, a token, or what musabi sets itself."""
TRAINERS = sorted(file for file in committed().scripts if "train" in file)


def trains_on_images(name: str) -> bool:
    rules = load(name).dataset
    return "image" in rules.takes and rules.control in ("none", "any") and "i2v" not in name


@pytest.mark.parametrize("file", TRAINERS)
def test_no_argument_that_names_a_path_a_module_a_host_or_a_token_is_allowed(file: str) -> None:
    script = committed().scripts[file]
    for option in script.each():
        name = option.flag.removeprefix("--")
        if DANGEROUS.search(name) or option.type == "Path" or option.nargs is not None:
            assert name not in ALLOWED, f"{name} of {file}"
        if name in ALLOWED and option.type == "str" and not option.switch:
            assert option.choices, f"{name} of {file} takes any text"


def test_everything_that_is_allowed_is_an_argument_of_a_trainer_and_not_musabi_s_own() -> None:
    known = {flag for file in TRAINERS for flag in committed().scripts[file].options}
    assert {f"--{name}" for name in ALLOWED} <= known
    assert not {f"--{name}" for name in ALLOWED} & {*OWNED, *SECRET}


@pytest.mark.parametrize("file", TRAINERS)
def test_every_other_argument_of_the_trainers_is_refused_with_what_to_do(file: str) -> None:
    documented = {
        "learning_rate",
        "gradient_accumulation_steps",
        "blocks_to_swap",
        "seed",
        "compile",
        "lr_scheduler",
    }
    fitting = (name for name in names() if load(name).scripts.train.file == file and trains_on_images(name))
    model = next(fitting, "qwen")
    wrong = [
        name
        for option in committed().scripts[file].each()
        if (name := option.flag.removeprefix("--")) not in ALLOWED | documented and name != "optimizer_type"
    ]
    with pytest.raises(Refused) as refused:
        a_request(model, dict.fromkeys(wrong, 1), engine="musubi")
    told = {one.path: one.message for one in refused.value.mistakes}
    assert len(told) == min(50, len(wrong))
    assert all(
        "can't be set by a request" in message or "diffusion-pipe's" in message for message in told.values()
    )


HOSTILE: tuple[tuple[str, Any], ...] = (
    ("timestep_sampling", "shift --output_dir /etc"),
    ("timestep_sampling", "--output_dir"),
    ("timestep_sampling", "sh\nift"),
    ("timestep_sampling", 'shift"\n[evil]'),
    ("timestep_sampling", "a" * 1000),
    ("timestep_sampling", ["shift", "--resume=/x"]),
    ("timestep_sampling", {"a": "b"}),
    ("timestep_sampling", "shft"),
    ("discrete_flow_shift", "3.0; rm -rf /"),
    ("discrete_flow_shift", "three"),
    ("discrete_flow_shift", 10**400),
    ("discrete_flow_shift", float("inf")),
    ("discrete_flow_shift", True),
    ("num_timestep_buckets", 1.5),
    ("split_attn", "yes"),
    ("split_attn", 1),
    ("--output_dir", "/etc"),
    ("output_dir=/etc --seed", 1),
    ("discrete_flow_shift\n--resume", 1),
    ("network-weights", "/etc/passwd"),
    ("a" * 5000, 1),
    ("", 1),
    ("ключ", 1),
)


@pytest.mark.parametrize(("name", "value"), HOSTILE)
def test_no_name_and_no_value_breaks_out(name: str, value: Any) -> None:
    with pytest.raises(Refused) as refused:
        a_request("qwen", {name: value}, engine="musubi")
    (mistake,) = refused.value.mistakes
    assert mistake.message.isprintable()
    assert len(mistake.path) < 100 and len(mistake.message) < 400


GOOD = (
    ("timestep_sampling", "shift", "--timestep_sampling=shift"),
    ("discrete_flow_shift", 2.2, "--discrete_flow_shift=2.2"),
    ("discrete_flow_shift", "2.2", "--discrete_flow_shift=2.2"),
    ("min_timestep", 100, "--min_timestep=100"),
    ("logit_mean", -0.5, "--logit_mean=-0.5"),
    ("split_attn", True, "--split_attn"),
    ("lr_decay_steps", "5%", "--lr_decay_steps=5%"),
)


@pytest.mark.parametrize(("name", "value", "argument"), GOOD)
def test_an_allowed_key_becomes_one_argument_with_its_value(name: str, value: Any, argument: str) -> None:
    request, choice = a_request("qwen", {name: value})
    made = train_arguments(request, choice)
    assert made[-1] == argument
    assert f"--{name}" in flags(made)


def test_a_switch_that_is_off_is_left_out() -> None:
    assert arguments({"split_attn": False, "cuda_allow_tf32": True}) == ("--cuda_allow_tf32",)


def test_a_slip_is_answered_with_the_name_that_was_meant() -> None:
    with pytest.raises(Refused, match="Did you mean discrete_flow_shift"):
        a_request("qwen", {"discrete_flow_shfit": 1}, engine="musubi")
    with pytest.raises(Refused, match="Use gradient_clipping"):
        a_request("qwen", {"max_grad_norm": 1})
    with pytest.raises(Refused, match=r"takes one of sigma, .*Did you mean shift"):
        a_request("qwen", {"timestep_sampling": "shft"})


def test_what_excludes_each_other_or_is_too_much_for_the_model_is_refused_before_a_gpu_is_busy() -> None:
    with pytest.raises(Refused, match="needs workers"):
        a_request("qwen", {"max_data_loader_n_workers": 0, "persistent_data_loader_workers": True})
    with pytest.raises(Refused, match=r"must be at most 29 for Wan2.1 T2V 1.3B, not 30"):
        a_request("wan13", {"blocks_to_swap": 30})


def test_what_only_diffusion_pipe_has_is_refused_for_musubi_tuner_by_name() -> None:
    with pytest.raises(Refused, match=r"min_ar is diffusion-pipe's\. Set engine to diffusion_pipe"):
        a_request("qwen", {"min_ar": 0.5}, engine="musubi")


def test_an_argument_that_can_t_work_with_a_model_is_not_allowed_for_it() -> None:
    assert "timestep_boundary" in allowed_for(load("wan2.2-t2v-a14b"))
    assert "timestep_boundary" not in allowed_for(load("qwen-image"))
    for name in names():
        assert not {f"--{each}" for each in allowed_for(load(name))} & load(name).unusable.keys()
