"""What a file that a person has becomes as a request."""

from pathlib import Path

import pytest

from musabi.errors import RequestError
from musabi.serverless.client.submission import Submission, read_submission, with_time
from peers.job_verbs import EXAMPLE


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "{", "no JSON"),
        ("a.json", "[1]", "no JSON object"),
        ("a.json", '{"input": 5}', '"input"'),
        ("a.toml", "model =", "not TOML"),
        ("a.toml", 'modle = "z-image"', 'Did you mean "model"'),
    ],
)
def test_a_file_that_is_no_request_is_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RequestError, match=words):
        read_submission(tmp_path / name)
    with pytest.raises(RequestError, match="not there"):
        read_submission(tmp_path / "missing.json")
    with pytest.raises(RequestError, match="no text file"):
        read_submission(tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('network_module = "lokr"', "network_module, which a request has no field for"),
        ('extra_train_args = "--x"', "extra_train_args, which a request has no field for"),
        ('publish_to = "/mnt/loras"', "can't write there"),
        ("network_dim = 5000", "NETWORK_DIM"),
    ],
)
def test_a_job_file_that_asks_for_what_an_endpoint_cannot_do_is_refused(
    tmp_path: Path, line: str, words: str
) -> None:
    path = tmp_path / "job.toml"
    path.write_text(f"max_train_epochs = 5\n{line}\n")
    with pytest.raises(RequestError, match=words):
        read_submission(path, images="https://example.com/a.zip")
    path.write_text("target_steps = 5\n")
    with pytest.raises(RequestError, match="max_train_epochs"):
        read_submission(path, images="https://example.com/a.zip")


@pytest.mark.parametrize(
    ("policy", "sent"),
    [
        (None, {"executionTimeout": 86_400_000, "ttl": 604_800_000}),
        ({"ttl": 90_000}, {"executionTimeout": 86_400_000, "ttl": 90_000}),
        ({"executionTimeout": 7_200_000}, {"executionTimeout": 7_200_000}),
    ],
)
def test_runpods_ten_minutes_are_raised_where_the_request_says_nothing(
    policy: dict[str, int] | None, sent: dict[str, int]
) -> None:
    body = {"input": EXAMPLE} | ({"policy": policy} if policy else {})
    assert with_time(Submission(body, "one")).body["policy"] == sent
