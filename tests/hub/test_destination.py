"""Places as people write them."""

from pathlib import Path

import pytest

from musabi.errors import RequestError
from musabi.hub.destination import FolderPlace, HubPlace, S3Place, hub_place, parse_destination


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("hf:me/my-lora", HubPlace("me/my-lora")),
        ("hf:me/{name}", HubPlace("me/ohwx")),
        ("s3://bucket", S3Place("bucket", "")),
        ("s3://bucket/a/b/", S3Place("bucket", "a/b")),
        ("s3://bucket/{name}/{run}", S3Place("bucket", "ohwx/r1")),
        ("/mnt/out", FolderPlace(Path("/mnt/out"))),
        ("here/{name}", FolderPlace(Path.cwd() / "here/ohwx")),
    ],
)
def test_places_are_told_apart(text: str, place: object) -> None:
    assert parse_destination(text, {"name": "ohwx", "run": "r1"}) == place


@pytest.mark.parametrize(
    "text",
    [
        "hf:me", "hf:", "hf:me/my lora", "hf:me/a/b", "hf:me/..", "hf:-me/x", "hf:me/x.git", "s3://", "s3:bucket",
        "s3:///x", "s3://b/x", "s3://bucket/a/../b", "s3://bucket/a//b", "ftp://x/y", "https://hub/me/x", "",
        "hf:me/{date}", "s3://bucket/{}", "gs://bucket/x",
    ],
)  # fmt: skip
def test_what_can_not_be_right_is_refused_before_anything_starts(text: str) -> None:
    with pytest.raises(RequestError):
        parse_destination(text)


def test_a_dataset_on_the_hub_may_say_so() -> None:
    assert hub_place("hf:dataset/me/photos") == HubPlace("me/photos", "dataset")
    assert str(hub_place("hf:datasets/me/photos")) == "hf:dataset/me/photos"


def test_a_name_with_letters_that_a_repo_can_not_have_is_refused_once_it_is_known() -> None:
    parse_destination("hf:me/{name}")
    with pytest.raises(RequestError, match="no spaces"):
        parse_destination("hf:me/{name}", {"name": "my lora", "run": "r"})
