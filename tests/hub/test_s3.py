"""S3 by the real boto3 against a server on loopback: whole objects, nothing twice, keys from the environment."""

import importlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from musabi.errors import MachineError, RequestError
from musabi.hub.destination import S3Place
from musabi.hub.parcel import piece
from musabi.hub.s3 import PART_BYTES, Bucket, send_to_s3

moto = pytest.importorskip("moto.server")
SECRET = "averysecretaccesskey1234567890"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = moto.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    yield f"http://127.0.0.1:{running.get_host_and_port()[1]}"
    running.stop()


@pytest.fixture
def environ(server: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": server,
    }


@pytest.fixture
def client(environ: dict[str, str]) -> Any:
    made = Bucket("photos", environ)._client
    made.create_bucket(Bucket="photos")
    for one in made.list_objects_v2(Bucket="photos").get("Contents", ()):
        made.delete_object(Bucket="photos", Key=one["Key"])
    return made


def write(path: Path, size: int) -> Path:
    path.write_bytes(random.Random(size).randbytes(size))  # noqa: S311 - the same bytes each time, no secret
    return path


def test_what_changed_is_sent_and_the_rest_is_not(
    client: Any, environ: dict[str, str], tmp_path: Path
) -> None:
    place = S3Place("photos", "loras/x")
    pieces = [
        piece("a/one.bin", write(tmp_path / "one", 1000)),
        piece("two.bin", write(tmp_path / "two", 2000)),
    ]
    first = send_to_s3(pieces, place, environ, lambda _text: None)
    assert (first.sent, first.unchanged) == (("a/one.bin", "two.bin"), ())
    pieces[0] = piece("a/one.bin", write(tmp_path / "one", 1001))
    second = send_to_s3(pieces, place, environ, lambda _text: None)
    assert (second.sent, second.unchanged) == (("a/one.bin",), ("two.bin",))
    body = client.get_object(Bucket="photos", Key="loras/x/a/one.bin")["Body"].read()
    assert body == (tmp_path / "one").read_bytes()


def test_an_object_of_the_same_size_and_other_content_is_replaced(
    client: Any, environ: dict[str, str], tmp_path: Path
) -> None:
    client.put_object(Bucket="photos", Key="two.bin", Body=b"x" * 2000)
    one = piece("two.bin", write(tmp_path / "two", 2000))
    assert send_to_s3([one], S3Place("photos", ""), environ, lambda _text: None).sent == ("two.bin",)
    assert client.get_object(Bucket="photos", Key="two.bin")["Body"].read() == one.path.read_bytes()


def test_a_large_file_goes_in_parts_and_an_unfinished_upload_is_cleared(
    client: Any, environ: dict[str, str], tmp_path: Path
) -> None:
    client.create_multipart_upload(Bucket="photos", Key="big.bin")
    other = client.create_multipart_upload(Bucket="photos", Key="big.bin.other")
    one = piece("big.bin", write(tmp_path / "big", 2 * PART_BYTES + 5))
    send_to_s3([one], S3Place("photos", ""), environ, lambda _text: None)
    assert "-" in client.head_object(Bucket="photos", Key="big.bin")["ETag"]
    left = client.list_multipart_uploads(Bucket="photos").get("Uploads", [])
    assert [upload["UploadId"] for upload in left] == [other["UploadId"]]
    moved: list[int] = []
    Bucket("photos", environ).get("big.bin", tmp_path / "back", moved.append)
    assert (tmp_path / "back").read_bytes() == one.path.read_bytes()
    assert sum(moved) == one.size


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "can't be reached"),
    ],
)
def test_what_is_wrong_is_said_plainly_and_without_the_key(
    changes: dict[str, str],
    words: str,
    environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import botocore.retries.standard

    monkeypatch.setattr(botocore.retries.standard.ExponentialBackoff, "_MAX_BACKOFF", 0.01, raising=False)
    with pytest.raises((RequestError, MachineError), match=words) as wrong:
        send_to_s3([piece("a", write(tmp_path / "a", 5))], S3Place("photos", ""), environ | changes, print)
    assert SECRET not in str(wrong.value)


def test_a_bucket_that_is_not_there_is_named(client: Any, environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no bucket nowhere-at-all"):
        send_to_s3([piece("a", write(tmp_path / "a", 5))], S3Place("nowhere-at-all", ""), environ, print)
    with pytest.raises(RequestError, match="no bucket nowhere-at-all"):
        list(Bucket("nowhere-at-all", environ).listing(""))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("SignatureDoesNotMatch", "refused AWS_ACCESS_KEY_ID"),
        ("AccessDenied", "may not do this in photos"),
        ("ExpiredToken", "have run out"),
        ("QuotaExceeded", "no room left"),
        ("SomethingNew", "SomethingNew"),
    ],
)
def test_refusals_of_a_server_are_told_apart(code: str, words: str, environ: dict[str, str]) -> None:
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import ClientError

    bucket = Bucket("photos", environ)
    for error in (
        ClientError({"Error": {"Code": code, "Message": SECRET}}, "PutObject"),
        S3UploadFailedError(f"Failed to upload: An error occurred ({code}) when calling PutObject: {SECRET}"),
    ):
        with pytest.raises((RequestError, MachineError), match=words) as said, bucket._plain("x"):
            raise error
        assert SECRET not in str(said.value)


def test_without_boto3_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    importlib.invalidate_caches()
    with pytest.raises(MachineError, match=r"pip install 'musabi\[s3\]'"):
        Bucket("photos", {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"})


def test_nothing_but_the_environment_is_believed(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(
        "[profile other]\nregion = eu-west-9\nendpoint_url = http://127.0.0.1:9\n"
    )
    (tmp_path / "credentials").write_text(
        "[other]\naws_access_key_id = OTHER\naws_secret_access_key = OTHER\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "other")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    client = Bucket("photos", environ)._client
    assert client.meta.endpoint_url == environ["AWS_ENDPOINT_URL"]
    assert client.meta.region_name == "us-east-1"
    assert client._request_signer._credentials.access_key == environ["AWS_ACCESS_KEY_ID"]
    monkeypatch.setenv("AWS_PROFILE", "a-profile-that-is-not-there")
    Bucket("photos", environ)


def test_another_provider_is_not_sent_checksums_that_it_need_not_know(environ: dict[str, str]) -> None:
    config = Bucket("photos", environ)._client.meta.config
    assert config.request_checksum_calculation == "when_required"
    amazon = Bucket("photos", {**environ, "AWS_ENDPOINT_URL": ""})._client.meta
    assert amazon.config.request_checksum_calculation == "when_supported"
    assert amazon.endpoint_url.endswith("amazonaws.com")


@pytest.mark.parametrize("wrong", [{"AWS_ENDPOINT_URL": "s3.example.com"}, {"AWS_REGION": "eu west"}])
def test_a_setting_that_cannot_be_right_is_named(wrong: dict[str, str]) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "an-id", "AWS_SECRET_ACCESS_KEY": "a-secret"}
    with pytest.raises(RequestError, match="AWS_ENDPOINT_URL or AWS_REGION"):
        Bucket("bucket", keys | wrong)


def test_what_can_not_be_cleared_is_left_there() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "an-id", "AWS_SECRET_ACCESS_KEY": "a-secret"}
    Bucket("no bucket has this name", keys).drop_unfinished("x", [])  # boto3 refuses it before it asks
