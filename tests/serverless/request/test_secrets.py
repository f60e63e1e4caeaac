"""Secrets leave the input first, and are found where they are named."""

import json

import pytest

from musabi.serverless.request.mistakes import Refused
from musabi.serverless.request.secrets import (
    MASK,
    SECRET_PATHS,
    is_secret_variable,
    secrets_of,
    split_secrets,
)
from serverless.request.examples import EXAMPLES, TOKEN, an_input

ALL = {
    "api_keys": {"huggingface_token": "1-secret", "gemini_api_key": "2-secret"},
    "output": {
        "huggingface": {"token": "3-secret"},
        "s3": {"access_key": "4-secret", "secret_key": "5-secret", "key_prefix": "loras"},
    },
}


def test_every_secret_is_taken_out_and_its_place_is_kept() -> None:
    clean, found = split_secrets(ALL)
    assert found == {path: f"{number}-secret" for number, path in enumerate(SECRET_PATHS, start=1)}
    assert "secret" not in json.dumps(clean).replace("secret_key", "")
    assert clean["output"]["s3"] == {"access_key": MASK, "secret_key": MASK, "key_prefix": "loras"}


def test_the_input_itself_is_left_alone_and_a_masked_one_gives_no_secret() -> None:
    before = json.dumps(ALL)
    clean, _ = split_secrets(ALL)
    assert json.dumps(ALL) == before
    assert split_secrets(clean) == (clean, {})


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_example_shows_its_token_once_it_was_split(name: str) -> None:
    assert TOKEN not in json.dumps(split_secrets(EXAMPLES[name])[0])


def test_what_has_the_name_of_a_secret_elsewhere_is_masked_and_dropped() -> None:
    given = an_input(training={"wandb_api_key": TOKEN, "list": [{"password": TOKEN}], "caption_tokens": 75})
    clean, found = split_secrets(given)
    assert TOKEN not in json.dumps(clean) and TOKEN in found.values()
    assert clean["training"]["caption_tokens"] == 75


def test_a_secret_that_is_empty_or_null_is_none() -> None:
    clean, found = split_secrets({"api_keys": {"huggingface_token": "", "gemini_api_key": None}})
    assert found == {}
    assert clean == {"api_keys": {"huggingface_token": "", "gemini_api_key": None}}


def test_a_variable_of_the_endpoint_can_be_named() -> None:
    given = {"api_keys.huggingface_token": "env:MUSABI_SECRET_HF"}
    assert secrets_of(given, {"MUSABI_SECRET_HF": "hf_1"}) == {"api_keys.huggingface_token": "hf_1"}


@pytest.mark.parametrize(
    "text", ["env:HF_TOKEN", "env:RUNPOD_AI_API_KEY", "env:", "env:PATH", "env:MUSABI_SECRET_", "env:../x"]
)
def test_no_other_variable_can_be_read(text: str) -> None:
    environ = {"HF_TOKEN": TOKEN, "RUNPOD_AI_API_KEY": TOKEN, "PATH": TOKEN, "MUSABI_SECRET_": TOKEN}
    with pytest.raises(Refused) as refused:
        secrets_of({"api_keys.gemini_api_key": text}, environ)
    (mistake,) = refused.value.mistakes
    assert mistake.path == "api_keys.gemini_api_key"
    assert "MUSABI_SECRET_" in mistake.message and TOKEN not in mistake.message


def test_a_token_behind_env_is_not_shown() -> None:
    with pytest.raises(Refused) as refused:
        secrets_of({"api_keys.huggingface_token": f"env:{TOKEN}"}, {})
    assert TOKEN not in json.dumps(refused.value.answer())


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(Refused, match="names MUSABI_SECRET_HF, which the endpoint does not have"):
        secrets_of({"output.huggingface.token": "env:MUSABI_SECRET_HF"}, {})


def test_the_endpoint_s_own_variables_stand_in_for_what_is_left_out() -> None:
    environ = {
        "HF_TOKEN": "hf",
        "GEMINI_API_KEY": "gemini",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
    }
    assert secrets_of({"output.huggingface.token": "mine"}, environ) == {
        "api_keys.huggingface_token": "hf",
        "api_keys.gemini_api_key": "gemini",
        "output.huggingface.token": "mine",
        "output.s3.access_key": "id",
        "output.s3.secret_key": "key",
    }


def test_half_a_pair_of_keys_is_never_made_whole_with_another_s_half() -> None:
    environ = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}
    assert secrets_of({"output.s3.access_key": "mine"}, environ) == {"output.s3.access_key": "mine"}
    assert secrets_of({}, {"AWS_ACCESS_KEY_ID": "id"}) == {}


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *((name, True) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "GEMINI_API_KEY", "AWS_PROFILE")),
        *((name, True) for name in ("MUSABI_API_KEY", "RUNPOD_API_KEY", "RUNPOD_AI_API_KEY")),
        *((name, True) for name in ("AWS_SECRET_ACCESS_KEY", "MUSABI_SECRET_X")),
        *(
            (name, False)
            for name in ("PATH", "HF_HOME", "HF_TOKEN_PATH", "WORKSPACE", "CUDA_VISIBLE_DEVICES")
        ),
    ],
)
def test_variables_with_secrets_are_told_from_others(name: str, secret: bool) -> None:
    assert is_secret_variable(name) is secret


def test_an_input_without_a_floor_is_refused() -> None:
    given: dict[str, object] = {}
    for _ in range(500):
        given = {"a": given}
    with pytest.raises(Refused, match="nested more than"):
        split_secrets(given)


@pytest.mark.parametrize(
    "part",
    [
        {"training": {"wandbApiKey": TOKEN}},
        {"training": {"api-key": TOKEN}},
        {"training": {"Authorization": f"Bearer {TOKEN}"}},
        {"api_keys": {"huggingface": TOKEN, "other": {"deep": [TOKEN]}}},
        {"dataset": {"images_url": f"https://me:{TOKEN}@files.example/a.zip"}},
        {"dataset": {"images_url": f"https://me:{TOKEN}@files.example/a.zip?x=1"}},
        {"output": {"s3": {"endpoint_url": f"https://me:{TOKEN}@s3.example"}}},
    ],
)
def test_a_secret_in_a_wrong_place_is_kept_nowhere(part: dict[str, object]) -> None:
    clean, _ = split_secrets(part)
    assert TOKEN not in json.dumps(clean)
    assert split_secrets(clean) == (clean, {})


def test_no_other_secret_of_the_endpoint_is_sent_to_an_s3_server_as_an_id() -> None:
    environ = {"MUSABI_SECRET_HF": TOKEN, "MUSABI_SECRET_S3_ID": "AKIA"}
    with pytest.raises(Refused, match="ends with _ID") as refused:
        secrets_of({"output.s3.access_key": "env:MUSABI_SECRET_HF"}, environ)
    assert TOKEN not in json.dumps(refused.value.answer())
    found = secrets_of({"output.s3.access_key": "env:MUSABI_SECRET_S3_ID"}, environ)
    assert found == {"output.s3.access_key": "AKIA"}
