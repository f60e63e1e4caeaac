"""`auto` takes the first way that works, `volume` keeps the files, and a failure says what failed."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from musabi.errors import MachineError, RequestError
from musabi.serverless.context import Context
from musabi.serverless.delivery.deliver import deliver, require_deliverable, ways_of
from musabi.serverless.delivery.way import Patience
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.parts import Trained
from musabi.serverless.phases import upload
from peers.loopback_hub_uploads import UploadHub
from peers.recording_network import RecordingNetwork
from peers.standin_file_host import StandInFileHost, running_file_host

HURRY = Patience(attempts=2, backoff_s=0.05)
KEYS = {
    "output.s3.access_key": "AKIAEXAMPLEEXAMPLE",
    "output.s3.secret_key": "averysecretaccesskey1234567890",
}
TOKEN = {"output.huggingface.token": "hf_averysecrettoken1234567890"}
S3 = {"bucket": "my-bucket", "endpoint_url": "https://inside.example"}
HUB = {"repo_id": "tester/my-lora"}


@pytest.fixture
def host(network: RecordingNetwork) -> Iterator[StandInFileHost]:
    network.names["inside.example"] = [["10.0.0.1"]]
    with running_file_host() as running:
        network.host("litterbox.example", "93.184.216.1", running.url)
        yield running


@pytest.mark.parametrize(
    ("output", "secrets", "variables", "ways"),
    [
        ({}, {}, {}, ["litterbox"]),
        ({"s3": S3}, KEYS, {}, ["s3", "litterbox"]),
        ({"s3": S3, "huggingface": HUB}, KEYS | TOKEN, {}, ["huggingface", "s3", "litterbox"]),
        ({"huggingface": HUB}, {}, {}, ["litterbox"]),
        ({}, {}, {"FILE_HOSTS": "file_io, transfer_sh, nobody"}, ["file_io", "transfer_sh"]),
    ],
)
def test_auto_asks_the_hub_then_s3_then_the_hosts_that_are_set(
    output: dict[str, Any],
    secrets: dict[str, str],
    variables: dict[str, str],
    ways: list[str],
    job: Callable[..., Context],
) -> None:
    context = job({"method": "auto"} | output, secrets, **variables)
    assert [way.name for way in ways_of(context)] == ways


def test_auto_without_any_way_is_refused_before_the_training(job: Callable[..., Context]) -> None:
    context = job({"method": "auto"}, {}, FILE_HOSTS="nobody")
    with pytest.raises(RequestError, match="finds no way"):
        require_deliverable(context)


def test_the_first_that_works_wins_and_what_failed_is_warned_of(
    host: StandInFileHost, hub: UploadHub, job: Callable[..., Context], trained: Trained
) -> None:
    hub.tokens = dict.fromkeys(hub.tokens, "read")
    output = {"method": "auto", "s3": S3, "huggingface": HUB}
    context = job(output, KEYS | TOKEN, LITTERBOX_URL="https://litterbox.example/litterbox")
    problems = require_deliverable(context)
    assert [problem.partition(":")[0] for problem in problems] == ["HuggingFace", "S3"]
    delivery = deliver(context, trained, HURRY)
    assert delivery.download_method == "litterbox" and delivery.download_url in host.kept
    assert delivery.as_json()["warnings"] == list(delivery.warnings)  # where the original's clients look
    first, second = delivery.warnings
    assert first.startswith("HuggingFace upload failed: ") and "may not write" in first
    assert second.startswith("S3 upload failed: ") and "private network" in second


def test_where_every_way_fails_the_error_says_why_of_each(
    host: StandInFileHost, job: Callable[..., Context], trained: Trained, folder: JobFolder
) -> None:
    host.fail("500", 9)
    output = {"method": "auto", "s3": S3}
    context = job(output, KEYS, LITTERBOX_URL="https://litterbox.example/litterbox")
    with pytest.raises(MachineError, match=r"S3 upload failed: .* Litterbox upload failed: .*500"):
        deliver(context, trained, HURRY)
    assert not any("COMPLETE" in path.name for path in folder.updates.iterdir())
    assert trained.comfy.is_file()


@pytest.mark.parametrize("mounted", [True, False])
def test_the_volume_keeps_the_files_beside_the_jobs(
    mounted: bool, job: Callable[..., Context], trained: Trained, folder: JobFolder
) -> None:
    context = job({"method": "volume"}, {}, volume=mounted)
    delivery = deliver(context, trained, HURRY)
    kept = context.places.root / "outputs" / "abc123-def456"
    assert delivery.as_json()["network_volume_path"] == str(kept)
    assert "network_volume_path" in delivery.as_json()["fallback_instructions"]
    assert (delivery.download_url, delivery.archive_size_mb) == (None, None)
    assert (kept / "adapter_model.safetensors").read_bytes() == trained.comfy.read_bytes()
    assert (kept / "native" / "ohwx.safetensors").is_file() and (kept / "adapter_config.json").is_file()
    assert bool(delivery.warnings) is not mounted
    assert "COMPLETE" in max(path.name for path in folder.updates.glob("0*.json"))


def test_a_full_disk_is_said_in_words(
    job: Callable[..., Context], trained: Trained, folder: JobFolder
) -> None:
    context = job({"method": "volume"}, {})
    (context.places.root / "outputs").write_text("a file where the folder should be")
    with pytest.raises(MachineError, match="Copying to the volume"):
        deliver(context, trained, HURRY)


def test_the_last_phase_hands_over_and_where_it_fails_says_where_the_files_are(
    job: Callable[..., Context], folder: JobFolder, network: RecordingNetwork
) -> None:
    outcomes = {"training": {"run": "run-1", "epochs": 4, "steps": 40}}
    outcome = upload.run(job({"method": "volume"}, {}), outcomes)
    json.dumps(outcome)
    assert outcome["output"]["download_method"] == "volume" and "README.md" in outcome["files"]
    with pytest.raises(MachineError, match=f"kept on the volume in {folder.output}"):
        upload.run(job({"method": "transfer_sh"}, {}), outcomes)
    statuses = [path.name.rpartition("_")[2] for path in sorted(folder.updates.glob("0*.json"))]
    assert statuses == ["INITIALIZED.json", "UPLOADING.json", "COMPLETE.json", "UPLOADING.json"]
