"""The environment variables: defaults, what is refused and how it is said."""

from pathlib import Path

import pytest

from musabi.errors import RequestError
from musabi.recipes import make_job
from musabi.settings import Settings, load, table

REFUSED = {
    ("NETWORK_DIM", "many"): 'NETWORK_DIM is "many", but it must be a whole number.',
    ("MAX_TRAIN_EPOCHS", "0"): 'MAX_TRAIN_EPOCHS is "0", but it must be at least 1.',
    ("LEARNING_RATE", "-1"): 'LEARNING_RATE is "-1", but it must be more than 0.',
    ("ENGINE", "kohya"): 'ENGINE is "kohya", but it must be one of auto, musubi, diffusers.',
    ("SAVE_PRECISION", "int8"): 'SAVE_PRECISION is "int8", but it must be one of bf16, fp16, float.',
    ("BOOTSTRAP_WAIT", "maybe"): 'BOOTSTRAP_WAIT is "maybe", but it must be 0 or 1.',
    ("JUPYTER_PORT", "99999"): 'JUPYTER_PORT is "99999", but it must be at most 65535.',
    ("OUTPUT_NAME", "a/b"): 'OUTPUT_NAME is "a/b", but it must be a plain file name',
    ("LOGGING_DIR", ""): "LOGGING_DIR is empty. Unset it for the default, /workspace/logs.",
    ("OUTPUT_NAME", " "): "OUTPUT_NAME is empty.",
    ("OUTPUT_NAME", "-rf"): 'OUTPUT_NAME is "-rf", but it must be a plain file name',
    ("OUTPUT_NAME", "a" * 151): f'OUTPUT_NAME is "{"a" * 151}", but it must be at most 150 bytes long.',
    ("LEARNING_RATE", "inf"): 'LEARNING_RATE is "inf", but it must be a number.',
    ("OUTPUT_DIR", "~nosuch/x"): "OUTPUT_DIR is ~nosuch/x, but this machine has no such user.",
    ("LATENT_DEVICE", "gpu"): 'LATENT_DEVICE is "gpu", but it must be cuda, cuda:0 or cpu.',
}


@pytest.mark.parametrize(("given", "message"), REFUSED.items(), ids=lambda value: str(value)[:40])
def test_a_value_that_cannot_be_right_is_refused_by_name(given: tuple[str, str], message: str) -> None:
    with pytest.raises(RequestError) as refused:
        load(dict([given]))
    assert str(refused.value).startswith(message)


def test_an_empty_variable_counts_as_not_set_where_that_is_allowed() -> None:
    settings = load({"MAX_TRAIN_EPOCHS": "", "BLOCKS_TO_SWAP": " "})
    assert (settings.max_train_epochs, settings.blocks_to_swap) == (None, None)


def test_paths_follow_the_workspace_unless_they_were_given(tmp_path: Path) -> None:
    settings = load({"WORKSPACE": str(tmp_path), "OUTPUT_DIR": "/elsewhere"})
    assert settings.dataset_config == tmp_path / "dataset/dataset.toml"
    assert make_job(settings).vae == tmp_path / "models/vae/ae.safetensors"
    assert settings.output_dir == Path("/elsewhere")
    assert settings.hf_home == tmp_path / ".cache/huggingface"


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load({"OUTPUT_DIR": "mine"}).output_dir == tmp_path / "mine"


def test_an_unknown_setting_is_refused_with_the_nearest_right_one() -> None:
    with pytest.raises(RequestError, match='Did you mean "network_dim"'):
        load({}, {"network_dimm": "8"})


def test_engine_auto_is_always_musubi() -> None:
    assert make_job(load({}), "prodigy").engine == "musubi"
    assert make_job(load({"ENGINE": "diffusers"}), "prodigy").engine == "diffusers"


def test_what_children_get_holds_no_token() -> None:
    environment = load({"HF_TOKEN": "hf_secret", "JUPYTER_TOKEN": "jt"}).child_environment
    assert not {"hf_secret", "jt"} & set(environment.values())
    assert {name for name in environment if "TOKEN" in name} == {"HF_TOKEN_PATH"}


def test_a_token_that_somebody_logs_in_with_stays_off_the_volume() -> None:
    path = load({}).child_environment["HF_TOKEN_PATH"]
    assert path == str(Path("~/.cache/huggingface/token").expanduser())


def test_every_setting_is_a_row_with_a_default_and_a_purpose() -> None:
    rows = table()
    assert len(rows) == len(Settings.model_fields)
    assert all(group in ("pod", "job") and default and why for group, _, default, why in rows)


def test_a_setting_reaches_the_job(tmp_path: Path) -> None:
    job = make_job(
        load(
            {
                "WORKSPACE": str(tmp_path),
                "NETWORK_DIM": "8",
                "TEXT_ENCODER_BATCH_SIZE": "2",
                "ENABLE_FP8_LLM": "0",
            }
        ),
        "adamw8bit",
    )
    assert (job.network_dim, job.caching.text_batch_size, job.caching.fp8_text_encoder) == (8, 2, False)
    assert job.dit == tmp_path / "models/dit/diffusion_pytorch_model-00001-of-00002.safetensors"
