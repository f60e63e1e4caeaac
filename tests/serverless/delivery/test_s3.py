"""A result goes to S3 by the real boto3, through the guard: a server on loopback behind a public address."""

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from safetensors.numpy import save_file

from musabi.children import Cancelled
from musabi.errors import MachineError, MusabiError, RequestError
from musabi.hub.guarded import guarded_client
from musabi.hub.s3 import PART_BYTES, Bucket
from musabi.serverless.context import Context
from musabi.serverless.delivery import s3
from musabi.serverless.delivery.deliver import deliver, require_deliverable
from musabi.serverless.delivery.way import Handover, Patience
from musabi.serverless.parts import Trained
from peers.loopback_hub_uploads import UploadHub
from peers.recording_network import RecordingNetwork

moto = pytest.importorskip("moto.server")
KEYS = {
    "output.s3.access_key": "AKIAEXAMPLEEXAMPLE",
    "output.s3.secret_key": "averysecretaccesskey1234567890",
}
HOST, ADDRESS = "account.r2.cloudflarestorage.com", "93.184.216.34"
S3 = {
    "bucket": "my-bucket",
    "endpoint_url": f"https://{HOST}",
    "region": "auto",
    "key_prefix": "lora-outputs",
}
KEY = "lora-outputs/lora_abc123-def456.zip"
HURRY = Patience(attempts=2, backoff_s=0.05)
TOKEN = {"output.huggingface.token": "hf_averysecrettoken1234567890"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = moto.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    yield f"http://127.0.0.1:{running.get_host_and_port()[1]}"
    running.stop()


@pytest.fixture
def client(server: str, network: RecordingNetwork, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server's own client, past the guard; the bucket is there and empty."""
    hosts = (HOST, "s3api-eu-ro-1.runpod.io")
    # Otherwise moto takes the beginning of a host's name for a bucket, as Amazon's are.
    monkeypatch.setenv("MOTO_S3_CUSTOM_ENDPOINTS", ",".join(f"https://{host}" for host in hosts))
    for host in hosts:
        network.host(host, ADDRESS, server)
    made = Bucket(
        "my-bucket",
        {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_ENDPOINT_URL": server},
    )._client
    made.create_bucket(Bucket="my-bucket")
    for one in made.list_objects_v2(Bucket="my-bucket").get("Contents", ()):
        made.delete_object(Bucket="my-bucket", Key=one["Key"])
    return made


def wish(**more: Any) -> dict[str, Any]:
    return {"method": "s3", "s3": S3 | more}


def test_the_archive_is_in_the_bucket_and_its_link_works_for_seven_days(
    client: Any, job: Callable[..., Context], trained: Trained, network: RecordingNetwork
) -> None:
    context = job(wish(), KEYS)
    assert require_deliverable(context) == ()
    delivery = deliver(context, trained, HURRY)
    stored = client.get_object(Bucket="my-bucket", Key=KEY)
    content = stored["Body"].read()
    assert stored["ContentType"] == "application/zip"
    answer = delivery.as_json()
    link = answer.pop("download_url")
    assert answer == {
        "safetensors_url": None,
        "repo_url": None,
        "download_method": "s3",
        "expires_in_days": 7,
        "archive_size_mb": round(len(content) / 1e6, 2),
        "network_volume_path": str(trained.comfy.parent),
    }
    assert link.startswith(f"https://{HOST}/my-bucket/{KEY}?")
    query = parse_qs(urlsplit(link).query)
    assert query["X-Amz-Expires"] == ["604800"] and query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert KEYS["output.s3.secret_key"] not in link
    with guarded_client() as browser:
        fetched = browser.get(link)
    assert fetched.content == content
    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert "epoch4/adapter_model.safetensors" in archive.namelist()
    assert {address for address, _ in network.connects} == {ADDRESS}
    progress = context.folder.progress()
    assert progress is not None and progress["message"] == "Download ready! URL valid for 7 days."


@pytest.fixture
def large(trained: Trained) -> Trained:
    """A result that goes in parts."""
    assert trained.native is not None
    save_file({"a.lora_down.weight": np.ones((1, PART_BYTES // 4 + 1000), np.float32)}, trained.native)
    return trained


def test_a_large_archive_goes_in_parts_and_its_progress_is_told(
    client: Any, job: Callable[..., Context], large: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = job(wish(), KEYS)
    monkeypatch.setattr("musabi.serverless.delivery.way.TELL_SECONDS", 0.0)
    told: list[float] = []
    tell = context.folder.tell
    monkeypatch.setattr(context.folder, "tell", lambda p: (told.append(p.progress), tell(p)))
    deliver(context, large, HURRY)
    stored = client.get_object(Bucket="my-bucket", Key=KEY)
    assert "-" in stored["ETag"]
    assert zipfile.ZipFile(BytesIO(stored["Body"].read())).testzip() is None
    numbers = [number for number in told if number is not None]
    assert numbers[0] == 0 and numbers[-1] == 100 and any(0 < number < 100 for number in numbers)


def test_a_cancelled_upload_ends_and_leaves_nothing_that_is_paid_for(
    client: Any, job: Callable[..., Context], large: Trained
) -> None:
    context = job(wish(), KEYS)
    handover = Handover(context, large, context.folder.path / "delivery", HURRY)
    assert handover.archive.size > PART_BYTES
    context.stop.set()
    with pytest.raises(Cancelled):
        s3.send(handover)
    assert "Contents" not in client.list_objects_v2(Bucket="my-bucket")
    assert "Uploads" not in client.list_multipart_uploads(Bucket="my-bucket")


@pytest.mark.parametrize(
    ("host", "address", "words"),
    [
        ("169.254.169.254", None, "private network"),
        ("127.0.0.1:9000", None, "private network"),
        ("minio.inside.example", "10.0.0.7", "private network"),
        ("[::ffff:10.0.0.1]", None, "private network"),
    ],
)
def test_an_endpoint_inside_a_private_network_is_never_asked(
    host: str,
    address: str | None,
    words: str,
    job: Callable[..., Context],
    trained: Trained,
    network: RecordingNetwork,
) -> None:
    if address:
        network.names[host] = [[address]]
    context = job(wish(endpoint_url=f"https://{host}"), KEYS)
    with pytest.raises(RequestError, match=words):
        require_deliverable(context)
    with pytest.raises(MachineError, match=f"S3 upload failed: .*{words}"):
        deliver(context, trained, HURRY)
    assert network.connects == []


def test_a_name_that_turns_private_after_it_was_checked_is_not_asked(
    client: Any, job: Callable[..., Context], trained: Trained, network: RecordingNetwork
) -> None:
    network.names[HOST] = [[ADDRESS], [ADDRESS], ["10.0.0.7"]]
    context = job(wish(), KEYS)
    assert require_deliverable(context) == ()
    with pytest.raises(MachineError, match="private network"):
        deliver(context, trained, HURRY)
    assert {address for address, _ in network.connects} == {ADDRESS}


def test_a_bucket_that_is_not_there_is_found_before_the_training(
    client: Any, job: Callable[..., Context], trained: Trained
) -> None:
    context = job(wish(bucket="nowhere-at-all"), KEYS)
    with pytest.raises(RequestError, match="There is no bucket nowhere-at-all"):
        require_deliverable(context)
    with pytest.raises(MachineError, match="S3 upload failed: There is no bucket nowhere-at-all"):
        deliver(context, trained, HURRY)


def test_an_endpoint_that_has_no_address_is_found_before_the_training(
    client: Any, job: Callable[..., Context], network: RecordingNetwork
) -> None:
    network.names["nowhere.example"] = [[]]
    with pytest.raises(MachineError, match=r"nowhere\.example has no address"):
        require_deliverable(job(wish(endpoint_url="https://nowhere.example"), KEYS))


def test_messages_name_the_fields_of_a_request_and_no_key(
    client: Any, job: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = replace(job(wish(), KEYS), secrets={"output.s3.secret_key": KEYS["output.s3.secret_key"]})
    with pytest.raises(MusabiError, match=r"S3 needs output.s3.access_key and output.s3.secret_key") as wrong:
        require_deliverable(context)
    assert KEYS["output.s3.secret_key"] not in str(wrong.value) and "AWS_" not in str(wrong.value)


def test_runpods_volume_api_gives_no_link_and_the_answer_says_so(
    client: Any, job: Callable[..., Context], trained: Trained
) -> None:
    context = job(wish(endpoint_url="https://s3api-eu-ro-1.runpod.io/", region="EU-RO-1"), KEYS)
    delivery = deliver(context, trained, HURRY)
    assert (delivery.download_url, delivery.expires_in_days) == (None, None)
    assert KEY in str(delivery.note) and "my-bucket" in str(delivery.note)
    assert client.head_object(Bucket="my-bucket", Key=KEY)["ContentLength"]


def test_the_hub_is_told_of_the_end_without_the_signature(
    client: Any, job: Callable[..., Context], trained: Trained, hub: UploadHub, network: RecordingNetwork
) -> None:
    context = job(wish() | {"huggingface": {"repo_id": "tester/my-lora"}}, KEYS | TOKEN)
    delivery = deliver(context, trained, HURRY)
    context.updates.close(10)
    files = hub.repos["tester/my-lora"].files
    (complete,) = [content.decode() for name, content in files.items() if "COMPLETE" in name]
    assert f'"direct_download_url": "https://{HOST}/my-bucket/{KEY}"' in complete
    assert '"repository_url": "http' in complete and "signed link is in the job's answer" in complete
    assert "X-Amz" not in complete and "?" in str(delivery.download_url)
