"""Where a request's unknown keys go, and that no value brings anything of its own into the TOML."""

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from musabi.engines.diffusion_pipe.config import config_toml, dataset_toml
from musabi.engines.diffusion_pipe.job import NEEDED, PipeJob, read_job
from musabi.engines.diffusion_pipe.keys import TABLES, TYPES, Table, nearest, place_of, refusal, suited
from musabi.engines.diffusion_pipe.places import PipePlaces
from musabi.engines.diffusion_pipe.values import WrongValueError
from musabi.errors import RequestError
from musabi.workspace import Workspace

PLACES = PipePlaces(Workspace(Path("/made/up")))
HOSTILE: tuple[Any, ...] = (
    "x'\n[model]\ntype = 'evil'",
    'x"\n[[directory]]\npath = "/etc"',
    '"""',
    "'''",
    "a = 1",
    "\\u0000",
    "\x00",
    "../../etc/passwd",
    "/etc/passwd",
    "torch.optim.Adam",
    "os.system",
    "",
    " ",
    "=" * 5000,
    "true",
    "\uff42float16",
    {"path": "/etc/passwd"},
    {"a": {"b": 1}},
    [[]],
    [[[1]]],
    [1, "x"],
    [None],
    [{"path": "/etc"}],
    [],
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    -1,
    2**63,
    "1",
    True,
    None,
)
ASKED = [(table, key) for table, rows in TABLES.items() for key, row in rows.items() if row.asked]


def a_job(**more: Any) -> PipeJob:
    values: dict[str, Any] = {
        "model_type": "wan13",
        "type": "wan",
        "model": {"ckpt_path": "/weights/wan"},
        "adapter": {"rank": 16},
        "optimizer": {},
        "directories": [("/pictures", 1)],
        "output_name": "lora",
        "epochs": 10,
        "save_every_n_epochs": 2,
    }
    return PipeJob.model_validate(values | more)


@pytest.mark.parametrize(
    ("key", "model", "table"),
    [
        ("blocks_to_swap", "flux", "root"),
        ("flux_shift", "flux", "model"),
        ("min_snr_gamma", "sdxl", "model"),
        ("dropout", "wan", "adapter"),
        ("d_coef", "wan", "optimizer"),
        ("min_ar", "qwen_image", "dataset"),
        ("min_snr_gamma", "flux", None),
        ("flux_shift", "sdxl", None),
        ("no_such_key", "flux", None),
        ("type", "flux", None),
        ("dtype", "flux", None),
        ("diffusers_path", "flux", None),
        ("alpha", "flux", None),
        ("wandb_api_key", "flux", None),
        ("output_dir", "flux", None),
        ("init_from_existing", "flux", None),
    ],
)
def test_an_unknown_key_goes_to_the_table_that_has_it_for_this_model(
    key: str, model: str, table: Table | None
) -> None:
    assert place_of(key, model) == table


def test_every_key_that_is_refused_is_refused_in_a_sentence() -> None:
    for key in ("alpha", "wandb_api_key", "monitoring", "output_dir", "checkpoint_path", "merge_adapters"):
        said = refusal(key)
        assert said is not None and said.endswith(".")
    assert refusal("blocks_to_swap") is None and refusal("no_such_key") is None


def test_a_slip_of_the_keys_gets_the_name_that_was_meant() -> None:
    assert nearest("block_to_swap", "flux") == "blocks_to_swap"
    assert nearest("min_snr_gama", "sdxl") == "min_snr_gamma"
    assert nearest("min_snr_gamma", "flux") != "min_snr_gamma"


@pytest.mark.parametrize("type_name", TYPES)
def test_every_path_key_of_a_model_is_out_of_a_requests_reach(type_name: str) -> None:
    for needed in NEEDED[type_name]:
        assert all(place_of(key, type_name) is None and refusal(key) for key in needed)


@pytest.mark.parametrize(("table", "key"), ASKED)
def test_a_hostile_value_is_refused_or_stays_one_value(table: Table, key: str) -> None:
    model = TABLES[table][key].types[0] if TABLES[table][key].types else "wan"
    weights = {name: "/weights/x" for name in NEEDED[model][0] if name != "text_encoders"}
    if model == "z_image":
        weights["text_encoders"] = [{"path": "/weights/te", "type": "lumina2"}]  # type: ignore[assignment]
    base: dict[Table, dict[str, Any]] = {"root": {}, "model": weights, "adapter": {"rank": 4}}
    for value in HOSTILE:
        tables = {**base, table: base.get(table, {}) | {key: value}}
        try:
            job = a_job(type=model, **tables)
        except ValidationError:
            continue
        config, dataset = tomllib.loads(config_toml(job, PLACES)), tomllib.loads(dataset_toml(job))
        assert set(config) <= {
            "output_dir",
            "dataset",
            "epochs",
            "save_every_n_epochs",
            "model",
            "adapter",
        } | {
            "optimizer",
            "checkpoint_every_n_minutes",
            *TABLES["root"],
        }
        assert config["model"]["type"] == model and len(dataset["directory"]) == 1
        assert config["output_dir"] == str(PLACES.trainings)
        if value is not None:
            found = dataset if table == "dataset" else config if table == "root" else config[table]
            made = suited(table, key, value, model)
            assert made in found.values()


@pytest.mark.parametrize(
    ("table", "key", "value", "made"),
    [
        ("optimizer", "betas", [0, 0.99], [0.0, 0.99]),
        ("optimizer", "type", "prodigy", "Prodigy"),
        ("optimizer", "type", "AdamW8bitKahan", "adamw8bitkahan"),
        ("root", "gradient_clipping", 1, 1.0),
        ("root", "warmup_steps", 10.0, 10),
        ("root", "activation_checkpointing", "unsloth", "unsloth"),
        ("root", "micro_batch_size_per_gpu", [[512, 4], [1024, 1]], [[512, 4], [1024, 1]]),
        ("dataset", "resolutions", 512, [512]),
        ("dataset", "resolutions", [[1280, 720]], [[1280, 720]]),
        ("dataset", "ar_buckets", [1, 1.5], [1.0, 1.5]),
        ("adapter", "exclude_modules", "blocks.0", ["blocks.0"]),
    ],
)
def test_a_value_is_written_as_the_trainers_reader_takes_it(
    table: Table, key: str, value: object, made: object
) -> None:
    assert suited(table, key, value, "wan") == made


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("root", "video_clip_mode", "multiple_overlapping"),
        ("root", "gradient_accumulation_steps", 0),
        ("root", "steps_per_print", True),
        ("adapter", "alpha", 16),
        ("adapter", "type", "lokr"),
        ("optimizer", "type", "torch.optim.Adam"),
        ("optimizer", "lr", "1e-4"),
        ("model", "transformer_dtype", "nf4"),
        ("dataset", "caption_prefix", "sks "),
        ("dataset", "resolutions", [512, [1280, 720]]),
        ("model", "ckpt_path", "relative/path"),
    ],
)
def test_a_wrong_value_is_said_with_its_key(table: Table, key: str, value: object) -> None:
    with pytest.raises(WrongValueError, match=key):
        suited(table, key, value, "wan")


def test_a_dtype_that_sdxl_can_not_have_is_refused() -> None:
    with pytest.raises(WrongValueError, match="transformer_dtype"):
        suited("model", "transformer_dtype", "float8", "sdxl")


def test_a_job_without_its_weights_or_its_rank_is_refused() -> None:
    with pytest.raises(ValidationError, match="ckpt_path"):
        a_job(model={})
    with pytest.raises(ValidationError, match="rank"):
        a_job(adapter={})
    with pytest.raises(ValidationError, match="flux, sdxl"):
        a_job(type="sd3")
    with pytest.raises(ValidationError, match="output_name"):
        a_job(output_name="../lora")


def test_a_job_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    job = a_job(trigger="sks", root={"blocks_to_swap": 10})
    job.write(tmp_path)
    assert read_job(tmp_path) == job


def test_a_broken_job_file_is_a_wrong_request_in_words(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"holds no pipe\.json"):
        read_job(tmp_path)
    (tmp_path / "pipe.json").write_text('{"type": "wan"}')
    with pytest.raises(RequestError, match="model_type"):
        read_job(tmp_path)
