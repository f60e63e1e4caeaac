"""Whatever is sent: it is refused in sentences, or it is a request whose every translation holds."""

import json
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musabi.contract import committed, faults
from musabi.engines.diffusion_pipe.config import config_toml
from musabi.engines.diffusion_pipe.config import dataset_toml as pipe_dataset_toml
from musabi.engines.diffusion_pipe.places import PipePlaces
from musabi.engines.musubi.extra import flags
from musabi.recipes import load
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.parts import EngineChoice, JobWeights
from musabi.serverless.request.allowlist import ALLOWED
from musabi.serverless.request.clips import clip_plan
from musabi.serverless.request.dataset_toml import dataset_toml
from musabi.serverless.request.engine_choice import choose_engine
from musabi.serverless.request.fields import (
    Dataset,
    HuggingfaceOutput,
    Output,
    S3Output,
    Training,
    TrainingRequest,
    documented,
)
from musabi.serverless.request.mistakes import Refused
from musabi.serverless.request.model import read_request
from musabi.serverless.request.model_types import of_model
from musabi.serverless.request.sample_prompts import prompts_text
from musabi.serverless.request.secrets import secrets_of, split_secrets
from musabi.serverless.request.to_pipe import pipe_job
from musabi.serverless.request.to_settings import job_toml, train_arguments, untranslated
from musabi.settings import Settings
from musabi.workspace import Workspace
from serverless.request.examples import ALL_NAMES, EXAMPLES, FILES, PIPE_FILES, TOKEN

ROOT = Path("/jobs/one")
OWN = {
    *("--gradient_accumulation_steps", "--max_grad_norm", "--lr_scheduler", "--lr_warmup_steps"),
    *("--optimizer_type", "--optimizer_args", "--learning_rate", "--gradient_checkpointing_cpu_offload"),
}
"""The arguments that documented parameters become."""
NASTY = st.sampled_from(
    [
        "",
        "\x00",
        "--output_dir=/etc",
        "'\n[evil]\nx='",
        '"""',
        "a\nb",
        "../..",
        "env:PATH",
        "\ud800",
        "💥" * 300,
    ]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 1, 2, 10**30, 1e-300, 0.5, 4096, 2**32])
LEAVES = st.none() | st.booleans() | NUMBERS | st.text(max_size=20) | NASTY
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
URLS = st.sampled_from(
    ["https://a.example/x.zip", "http://10.0.0.1/x", "https://u:p@h/", "file:///etc/passwd"]
)
PIPE_NAMES = (
    "min_ar",
    "guidance",
    "shift",
    "dropout",
    "v_pred",
    "resolutions",
    "betas",
    "alpha",
    "path",
    "type",
)
NAMES = st.sampled_from(
    [*documented(Training), *sorted(ALLOWED), *PIPE_NAMES, "output_dir", "resume", "task"]
)
GOOD_TRAINING: dict[str, st.SearchStrategy[Any]] = {
    "epochs": st.integers(1, 300),
    "learning_rate": st.floats(1e-7, 1.0),
    "lora_rank": st.integers(1, 128),
    "optimizer_type": st.sampled_from(
        ["adamw_optimi", "AdamW8bit", "prodigy", "adafactor", "sgd", "automagic"]
    ),
    "optimizer_betas": st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)).map(list),
    "resolution": st.integers(64, 2048) | st.tuples(st.integers(64, 2048), st.integers(64, 2048)).map(list),
    "frame_buckets": st.lists(st.integers(1, 200), min_size=1, max_size=5),
    "activation_checkpointing": st.sampled_from([True, False, "unsloth"]),
    "discrete_flow_shift": st.floats(0.1, 10),
    "lr_scheduler": st.sampled_from(["constant", "cosine", "polynomial"]),
    "guidance": st.floats(0, 10),
    "min_ar": st.floats(0.1, 1),
}


def part(kind: Any, **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Inputs for a part: its own names with values of any kind, and others; or something else altogether."""
    own = {name: more.get(name, JSON) for name in documented(kind)}
    return st.fixed_dictionaries({}, optional={**own, "strange": JSON}) | JSON


TRAINING = (
    st.fixed_dictionaries({}, optional=GOOD_TRAINING)
    | st.dictionaries(NAMES | st.text(max_size=12), JSON, max_size=4)
    | JSON
)
DATASET = part(
    Dataset,
    type=st.sampled_from(["precaptioned", "images", "videos", "both", "x"]),
    images_url=URLS,
    videos_url=URLS,
    caption_with=st.sampled_from(["qwen3-vl", "gemini", "x"]),
)
OUTPUT = st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from(["auto", "huggingface", "s3", "volume", "x"]) | JSON,
        "huggingface": part(HuggingfaceOutput),
        "s3": part(S3Output),
        **{name: JSON for name in documented(Output) if name not in ("method", "huggingface", "s3")},
    },
)
INPUTS = st.fixed_dictionaries(
    {},
    optional={
        "model_type": st.sampled_from(ALL_NAMES) | JSON,
        "engine": st.sampled_from(["auto", "musubi", "diffusion_pipe", "diffusers"]) | JSON,
        "dataset": DATASET,
        "training": TRAINING,
        "output": OUTPUT | JSON,
        "api_keys": st.dictionaries(st.sampled_from(["huggingface_token", "gemini_api_key"]), JSON),
    },
)
MEDIA = {"wan13": ("videos_url", "images_url"), "wan14b_i2v": ("videos_url",), "framepack": ("videos_url",)}
MODELS = ("flux", "sdxl", "wan13", "wan14b_i2v", "qwen", "z_image_turbo", "z_image", "krea-2", "framepack")


@st.composite
def nearly_right(draw: st.DrawFn) -> dict[str, Any]:
    """Requests that are right but for a few values, with media that suit the model."""
    model = draw(st.sampled_from(MODELS))
    media = MEDIA.get(model, ("images_url",))
    urls = dict.fromkeys(draw(st.sampled_from([media, media[:1]])), "https://a.example/x.zip")
    word = draw(
        st.none() | st.text(alphabet=st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)
    )
    names = draw(st.lists(st.sampled_from(sorted(GOOD_TRAINING)), max_size=4, unique=True))
    return {
        "model_type": model,
        "dataset": {"type": "precaptioned", "trigger_word": word} | urls,
        "training": {name: draw(GOOD_TRAINING[name]) for name in names},
        "engine": draw(st.sampled_from(["auto", "auto", "musubi", "diffusion_pipe"])),
        "api_keys": {"huggingface_token": TOKEN, "gemini_api_key": TOKEN},
    }


NEARLY_RIGHT = nearly_right()
QUICK = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@QUICK
@given(INPUTS | NEARLY_RIGHT | JSON)
def test_only_a_request_or_a_refusal_comes_out(given_input: Any) -> None:
    request = read(given_input)
    if request is not None:
        holds(request, choose_engine(request))


@QUICK
@given(NEARLY_RIGHT)
def test_what_is_accepted_translates_without_an_error(given_input: dict[str, Any]) -> None:
    request = read(given_input)
    if request is not None:
        holds(request, choose_engine(request))


@QUICK
@given(st.sampled_from(sorted(EXAMPLES)), NAMES | st.text(max_size=12), JSON)
def test_an_example_with_one_more_key_is_refused_or_right(name: str, key: str, value: Any) -> None:
    request = read(EXAMPLES[name] | {"training": EXAMPLES[name].get("training", {}) | {key: value}})
    if request is not None:
        holds(request, choose_engine(request))


def read(given_input: Any) -> TrainingRequest | None:
    """Read an input as the endpoint does; None where it is refused, with an answer that is JSON and no secret."""
    try:
        clean, found = split_secrets(given_input) if isinstance(given_input, dict) else (given_input, {})
        return read_request(clean, secrets=secrets_of(found, {}))
    except Refused as refused:
        answer = refused.answer()
        assert answer["status"] == "failed" and answer["error"] == answer["errors"][0]["message"]
        assert TOKEN not in json.dumps(answer)
        assert all(len(one["path"]) < 200 and len(one["message"]) < 1000 for one in answer["errors"])
        assert all(one["message"].isprintable() for one in answer["errors"])
        return None


def holds(request: TrainingRequest, choice: EngineChoice) -> None:
    """Check every translation of a request."""
    untranslated(request, choice)
    images = ROOT / "images" if request.has_images else None
    videos = ROOT / "videos" if request.has_videos else None
    if choice.engine == "diffusion_pipe":
        pipe_holds(request, choice, images, videos)
        return
    recipe = load(choice.model)
    plan = clip_plan(request, choice)
    assert (plan is None) == (videos is None)
    tomllib.loads(dataset_toml(request, recipe, images, videos, ROOT))
    assert prompts_text(request, recipe).strip()
    rows = tomllib.loads(job_toml(request, choice, FILES, JobFolder(ROOT)))
    assert rows.keys() <= Settings.model_fields.keys()
    Settings.model_validate(rows)
    made = train_arguments(request, choice)
    assert flags(made) <= OWN | {f"--{name}" for name in ALLOWED}
    script = recipe.scripts.train.file
    needed = {one.message for one in faults(committed(), script, ())}
    assert {one.message for one in faults(committed(), script, made) if one.refused} <= needed


def pipe_holds(
    request: TrainingRequest, choice: EngineChoice, images: Path | None, videos: Path | None
) -> None:
    files = JobWeights(dict(PIPE_FILES[str(of_model(choice.model).pipe)]), Path("/cache"))
    job = pipe_job(request, choice, files, images, videos)
    made = tomllib.loads(config_toml(job, PipePlaces(Workspace(ROOT))))
    assert [name for name, value in made.items() if isinstance(value, dict)] == [
        "model",
        "adapter",
        "optimizer",
    ]
    assert "evil" not in tomllib.loads(pipe_dataset_toml(job))
