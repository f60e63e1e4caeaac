"""What boto3 sends goes through the guard: checked, held to the address, retried by boto3."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from musabi.errors import RequestError
from musabi.hub.guarded_boto import guard
from peers.loopback_files import running_files
from peers.recording_network import RecordingNetwork

boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto.server")
PUBLIC = "93.184.216.34"
CONTENT = bytes(range(256)) * 50_000


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    running = moto.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    try:
        yield "http://127.0.0.1:{1}".format(*running.get_host_and_port())
    finally:
        running.stop()


def client_of(endpoint: str) -> Any:
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key="averysecretkey",
        region_name="us-east-1",
        config=Config(retries={"mode": "standard", "total_max_attempts": 2}, s3={"addressing_style": "path"}),
    )


def test_an_upload_in_parts_arrives_whole(s3: str, tmp_path: Path) -> None:
    from boto3.s3.transfer import TransferConfig

    network = RecordingNetwork()
    network.host("s3.us-east-1.amazonaws.com", PUBLIC, s3)
    client = client_of("https://s3.us-east-1.amazonaws.com")
    guard(client, network.as_network())
    client.create_bucket(Bucket="loras")
    (tmp_path / "a.bin").write_bytes(CONTENT)
    came: list[int] = []
    parts = TransferConfig(multipart_threshold=5 * 1024**2, multipart_chunksize=5 * 1024**2)
    client.upload_file(str(tmp_path / "a.bin"), "loras", "x/a.bin", Config=parts, Callback=came.append)
    assert sum(came) == len(CONTENT)
    assert client.head_object(Bucket="loras", Key="x/a.bin")["ContentLength"] == len(CONTENT)
    assert client.get_object(Bucket="loras", Key="x/a.bin")["Body"].read() == CONTENT
    assert [one["Key"] for one in client.list_objects_v2(Bucket="loras")["Contents"]] == ["x/a.bin"]
    with pytest.raises(client.exceptions.ClientError, match="404"):
        client.head_object(Bucket="loras", Key="none")
    assert set(network.connects) == {(PUBLIC, 443)}


@pytest.mark.parametrize("answers", [[["10.0.0.8"]], [[PUBLIC, "127.0.0.1"]], [["169.254.169.254"]]], ids=str)
def test_an_endpoint_inside_is_not_asked(answers: list[list[str]]) -> None:
    network = RecordingNetwork({"s3.example": answers})
    client = client_of("https://s3.example")
    guard(client, network.as_network())
    with pytest.raises(RequestError, match="private network"):
        client.put_object(Bucket="b", Key="k", Body=b"x")
    assert network.connects == []


def test_a_server_that_fails_is_asked_again_and_named_without_the_signature() -> None:
    from botocore.exceptions import ConnectionClosedError, EndpointConnectionError

    network = RecordingNetwork({"gone.example": [["8.8.4.4"]]})
    client = client_of("https://gone.example")
    guard(client, network.as_network())
    with pytest.raises(EndpointConnectionError, match=r"https://gone\.example") as failed:
        client.put_object(Bucket="b", Key="k", Body=b"x")
    assert "Signature" not in str(failed.value) and network.connects == [("8.8.4.4", 443)] * 2
    with running_files() as files:
        files.add("/b/k", b"x" * 300_000)
        files.fail("cut", times=2)
        network.host("cut.example", PUBLIC, files.url)
        client = client_of("https://cut.example")
        guard(client, network.as_network())
        with pytest.raises(ConnectionClosedError):
            client.get_object(Bucket="b", Key="k")
        assert len(files.seen) == 2


def test_an_answer_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musabi.hub.guarded_boto.MOST_ANSWER", 100_000)
    with running_files() as server:
        server.add("/b/k", bytes(1_000_000))
        network = RecordingNetwork()
        network.host("s3.example", PUBLIC, server.url)
        client = client_of("https://s3.example")
        guard(client, network.as_network())
        with pytest.raises(RequestError, match="does not answer as an S3 server does"):
            client.get_object(Bucket="b", Key="k")
