"""Archives go to file hosts as their clients do it; the hosts are a stand-in behind public addresses."""

import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest

from musabi.errors import MachineError, RequestError
from musabi.serverless.context import Context
from musabi.serverless.delivery import hosts
from musabi.serverless.delivery.deliver import deliver, require_deliverable
from musabi.serverless.delivery.way import Handover, Patience
from musabi.serverless.parts import Delivery, Trained
from peers.loopback_hub_uploads import UploadHub
from peers.recording_network import RecordingNetwork
from peers.standin_file_host import StandInFileHost, running_file_host

HURRY = Patience(attempts=3, backoff_s=0.05)
ADDRESSES = {
    "LITTERBOX_URL": "https://litterbox.example/litterbox",
    "TRANSFER_SH_URL": "https://transfer.example/transfer/",
    "FILE_IO_URL": "https://file.example/fileio",
    "FILE_HOSTS": "litterbox,transfer_sh,file_io",
}


@pytest.fixture
def host(network: RecordingNetwork) -> Iterator[StandInFileHost]:
    with running_file_host() as running:
        for number, name in enumerate(("litterbox", "transfer", "file")):
            network.host(f"{name}.example", f"93.184.216.{number + 1}", running.url)
        yield running


@pytest.mark.parametrize(
    ("name", "days", "fields", "note"),
    [
        ("litterbox", 3, {"reqtype": "fileupload", "time": "72h"}, None),
        ("transfer_sh", 14, {"Max-Days": "14", "type": "application/zip"}, None),
        ("file_io", 14, {"expires": "14d"}, "One-time download link - file deleted after first download"),
    ],
)
def test_each_host_gets_the_archive_as_its_clients_send_it(
    name: str,
    days: int,
    fields: dict[str, str],
    note: str | None,
    host: StandInFileHost,
    job: Callable[..., Context],
    trained: Trained,
) -> None:
    context = job({"method": "auto"}, {}, **(ADDRESSES | {"FILE_HOSTS": name}))
    assert require_deliverable(context) == ()
    delivery = deliver(context, trained, HURRY)
    assert host.fields == [fields]
    (link,) = host.kept
    file_name, content = host.kept[link]
    assert file_name == "lora_abc123-def456.zip"
    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.read("epoch4/adapter_model.safetensors") == trained.comfy.read_bytes()
    expected = Delivery(
        download_method=name,
        download_url=link,
        expires_in_days=days,
        archive_size_mb=round(len(content) / 1e6, 2),
        network_volume_path=str(trained.comfy.parent),
        note=note,
        files=delivery.files,
    )
    assert delivery == expected


@pytest.mark.parametrize("faults", [["503", "cut"], ["429", "429"]])
def test_a_host_that_fails_now_and_then_is_asked_again(
    faults: list[str], host: StandInFileHost, job: Callable[..., Context], trained: Trained
) -> None:
    for fault in faults:
        host.fail(fault)
    delivery = deliver(job({"method": "litterbox"}, {}, **ADDRESSES), trained, HURRY)
    assert delivery.download_url in host.kept and len(host.asked) == 3
    assert host.kept[str(delivery.download_url)][1][:2] == b"PK"


@pytest.mark.parametrize(
    ("fault", "times", "asked", "words"),
    [
        ("503", 9, 3, "answered 503"),
        ("cut", 9, 3, "connection to https://litterbox.example/litterbox broke"),
        ("413", 1, 1, r"did not take the archive \(413\)"),
        ("page", 1, 1, "answered without a link"),
    ],
)
def test_a_host_that_fails_for_good_is_an_error(
    fault: str,
    times: int,
    asked: int,
    words: str,
    host: StandInFileHost,
    job: Callable[..., Context],
    trained: Trained,
) -> None:
    host.fail(fault, times)
    with pytest.raises(MachineError, match=f"Litterbox upload failed: .*{words}"):
        deliver(job({"method": "litterbox"}, {}, **ADDRESSES), trained, HURRY)
    assert len(host.asked) == asked


def test_an_archive_beyond_a_hosts_limit_is_not_sent(
    host: StandInFileHost, job: Callable[..., Context], trained: Trained
) -> None:
    small = replace(hosts.BY_NAME["litterbox"], most_bytes=1000)
    context = job({"method": "litterbox"}, {}, **ADDRESSES)
    with pytest.raises(MachineError, match=r"Litterbox takes at most .* Use huggingface or s3"):
        hosts.send(Handover(context, trained, context.folder.path / "delivery", HURRY), small)
    assert host.asked == []


def test_a_host_without_an_address_is_off_and_said_so(job: Callable[..., Context], trained: Trained) -> None:
    context = job({"method": "transfer_sh"}, {})
    with pytest.raises(
        RequestError, match=r"transfer.sh has no address on this endpoint. Set TRANSFER_SH_URL"
    ):
        require_deliverable(context)
    with pytest.raises(MachineError, match="TRANSFER_SH_URL"):
        deliver(context, trained, HURRY)


def test_a_host_inside_a_private_network_is_never_asked(
    job: Callable[..., Context], trained: Trained, network: RecordingNetwork
) -> None:
    network.names["litterbox.example"] = [["10.1.2.3"]]
    with pytest.raises(MachineError, match="private network"):
        deliver(job({"method": "litterbox"}, {}, **ADDRESSES), trained, HURRY)
    assert network.connects == []


def test_the_hub_is_told_of_the_end_although_the_result_is_elsewhere(
    host: StandInFileHost, job: Callable[..., Context], trained: Trained, hub: UploadHub
) -> None:
    output: dict[str, Any] = {"method": "litterbox", "huggingface": {"repo_id": "tester/my-lora"}}
    context = job(output, **ADDRESSES)
    delivery = deliver(context, trained, HURRY)
    context.updates.close(10)
    files = hub.repos["tester/my-lora"].files
    (complete,) = [content.decode() for name, content in files.items() if "COMPLETE" in name]
    assert re.search(rf'"download_url": "{re.escape(str(delivery.download_url))}"', complete)
    assert max(name for name in files if name.startswith("UPDATES/")).endswith("COMPLETE.json")
    assert "adapter_model.safetensors" not in files
