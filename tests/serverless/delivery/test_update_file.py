"""An update's file: the original's name and fields, and nothing secret in it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from musabi.serverless.delivery.update_file import Update, cleaned, commit_message, read_updates

WHEN = datetime(2024, 12, 14, 14, 30, 52, 123456, UTC)
TRAINING = {"message": "Starting Qwen Image LoRA training", "epochs": 100, "lora_rank": 32}


def test_the_file_is_the_documented_one() -> None:
    update = Update(3, "TRAINING", WHEN, TRAINING)
    assert update.name == "0003_20241214_143052_TRAINING.json"
    assert update.text("abc123-def456", "username/my-lora") == (
        json.dumps(
            {
                "status": "TRAINING",
                "timestamp": "2024-12-14T14:30:52.123456+00:00",
                "job_id": "abc123-def456",
                "update_number": 3,
                "repo_id": "username/my-lora",
                "data": TRAINING,
            },
            indent=2,
        )
        + "\n"
    )


def test_a_whole_second_has_its_microseconds_too() -> None:
    text = Update(1, "STARTING", WHEN.replace(microsecond=0), {}).text("j", None)
    assert json.loads(text)["timestamp"] == "2024-12-14T14:30:52.000000+00:00"


def test_a_repo_that_was_not_known_yet_is_filled_in() -> None:
    update = Update(1, "INITIALIZED", WHEN, {"repo_id": None, "note": "x"})
    assert json.loads(update.text("j", "me/lora"))["data"] == {"repo_id": "me/lora", "note": "x"}


def test_letters_that_can_not_be_written_are_no_obstacle() -> None:
    text = Update(1, "STARTING", WHEN, {"message": "\ud800 \u00e9"}).text("j", None).encode()
    assert json.loads(text)["data"]["message"] == "\ud800 \u00e9"


@pytest.mark.parametrize(
    ("numbers", "message"),
    [([4], "Update #4: TRAINING"), ([4, 5, 6], "Updates #4 to #6: TRAINING, TRAINING, TRAINING")],
)
def test_a_commit_says_what_it_brings(numbers: list[int], message: str) -> None:
    assert commit_message([Update(n, "TRAINING", WHEN, {}) for n in numbers]) == message


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (
            "https://bucket.example/a.zip?X-Amz-Signature=abc&x=1 is gone",
            "https://bucket.example/a.zip is gone",
        ),
        ("see http://user:pass@host.example/x#frag", "see http://***@host.example/x"),
        ("https://hub/me/x/resolve/main/a.safetensors?download=true", None),
        ("https://hub/a?download=true&token=abc", "https://hub/a"),
        ("the token is hf_secret1.", "the token is ***."),
        ({"hf_secret1": ["hf_secret1", {"x": "a hf_secret1"}]}, {"***": ["***", {"x": "a ***"}]}),
        (
            {"wandb_api_key": "abc", "max_token_length": 225},
            {"wandb_api_key": "***", "max_token_length": 225},
        ),
        ({"loss": float("nan"), "eta_s": float("inf"), "step": 3}, {"loss": None, "eta_s": None, "step": 3}),
        ({"path": Path("/a"), "set": (1, None, True)}, {"path": "/a", "set": [1, None, True]}),
    ],
)
def test_nothing_secret_and_nothing_that_is_no_json_gets_in(given: object, written: object) -> None:
    assert cleaned(given, ("hf_secret1",)) == (given if written is None else written)
    json.dumps(cleaned(given), allow_nan=False)


def test_what_was_written_is_read_again_and_the_rest_passed_over(tmp_path: Path) -> None:
    for number in (2, 1):
        update = Update(number, "TRAINING", WHEN, {"step": number})
        (tmp_path / update.name).write_text(update.text("j", None))
    (tmp_path / "sent.json").write_text('{"sent": 1}')
    (tmp_path / "0003_20241214_143052_TRAINING.json").write_text("{")
    (tmp_path / "0004_20241214_143052_TRAINING.json").write_text("[]")
    assert read_updates(tmp_path) == [Update(n, "TRAINING", WHEN, {"step": n}) for n in (1, 2)]
    assert read_updates(tmp_path / "nowhere") == []
