"""Updates reach the hub in order, by the real client; a hub that is down, slow or refuses costs the job nothing."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from musabi.errors import RequestError
from musabi.hub.access import Access
from musabi.serverless.delivery.result_repo import ResultRepo
from musabi.serverless.delivery.updates import Updates
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.request.model import read_request
from peers.loopback_hub_uploads import UploadHub
from peers.monitoring_client import MonitoringClient

TOKEN = "hf_averysecrettoken1234567890"
JOB = "abc123-def456"
REPO = "tester/my-lora"
SEQUENCE = (
    "STARTING",
    "DOWNLOADING",
    "MODEL_DOWNLOAD",
    "TRAINING",
    "TRAINING_COMPLETE",
    "UPLOADING",
    "COMPLETE",
)


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    folder = JobFolder(tmp_path / JOB)
    folder.make(JOB, {})
    return folder


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def updates(hub: UploadHub, folder: JobFolder, said: list[str]) -> Iterator[Callable[..., Updates]]:
    """Make the updates of the job, in a hurry where the hub fails."""
    made: list[Updates] = []

    def make(wished: str | None = REPO, token: str = TOKEN, limit_s: float = 20, **more: Any) -> Updates:
        access = Access({"HF_ENDPOINT": hub.url, "HF_TOKEN": token}, backoff_s=0.05)
        repo = ResultRepo(wished, JOB, access, limit_s=limit_s, **more)
        made.append(Updates(folder, said.append, repo, (TOKEN,)))
        return made[-1]

    yield make
    for one in made:
        one.close(0)


def request(output: dict[str, Any], token: str | None = TOKEN) -> Any:
    dataset = {"type": "precaptioned", "images_url": "https://example.com/a.zip"}
    secrets = {"output.huggingface.token": token} if token else {}
    return read_request({"model_type": "qwen", "dataset": dataset, "output": output}, secrets=secrets)


def sent(hub: UploadHub, repo: str = REPO) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, content) of the updates in a repo, as a client lists them."""
    files = hub.repos[repo].files if repo in hub.repos else {}
    return [(name, json.loads(files[name])) for name in sorted(files) if name.startswith("UPDATES/")]


def test_a_job_is_told_in_numbered_files_one_commit_each(
    hub: UploadHub, folder: JobFolder, updates: Callable[..., Updates]
) -> None:
    job = updates()
    assert job.flush(10)
    for status in SEQUENCE:
        job.add(status, {"message": status.lower()})
        assert job.flush(10)
    job.close(10)
    names = [name for name, _ in sent(hub)]
    assert [re.sub(r"\d{8}_\d{6}", "T", name) for name in names] == [
        f"UPDATES/{number:04d}_T_{status}.json"
        for number, status in enumerate(("INITIALIZED", *SEQUENCE), start=1)
    ]
    values = [value for _, value in sent(hub)]
    assert [value["update_number"] for value in values] == list(range(1, 9))
    assert {(value["job_id"], value["repo_id"]) for value in values} == {(JOB, REPO)}
    assert values[0]["data"].keys() == {"job_id", "repo_id", "message", "note"}
    assert (values[0]["data"]["job_id"], values[0]["data"]["repo_id"]) == (JOB, REPO)
    assert values[-1]["data"] == {"message": "complete"}
    assert [message for message, _ in hub.commits] == [
        f"Update #{n}: {status}" for n, status in enumerate(("INITIALIZED", *SEQUENCE), start=1)
    ]
    assert hub.private == {REPO: True}
    here = {f"UPDATES/{path.name}": path.read_bytes() for path in folder.updates.glob("0*.json")}
    assert here == {name: hub.repos[REPO].files[name] for name in names}
    assert not any("xet" in seen.path for seen in hub.seen)


def test_adding_never_waits_for_the_hub_and_neither_does_the_end(
    hub: UploadHub, updates: Callable[..., Updates], said: list[str], folder: JobFolder
) -> None:
    hub.fail("stall", method="POST", path="/commit/")
    job = updates()
    began = time.monotonic()
    for status in SEQUENCE:
        job.add(status, {})
    assert time.monotonic() - began < 0.5
    began = time.monotonic()
    job.close(0.5)
    assert time.monotonic() - began < 1.5
    assert "8 updates did not reach the hub" in said[-1]
    assert len(list(folder.updates.glob("0*.json"))) == 8


@pytest.mark.parametrize("fault", ["503", "429", "412"])
def test_what_waited_for_a_hub_that_was_down_comes_in_order_in_one_commit(
    fault: str, hub: UploadHub, updates: Callable[..., Updates], said: list[str]
) -> None:
    job = updates()
    assert job.flush(10)
    hub.fail(fault, method="POST", path="/commit/", times=3)
    job.add(SEQUENCE[0], {})
    while len([seen for seen in hub.seen if "/commit/" in seen.path]) < 2:
        time.sleep(0.01)
    for status in SEQUENCE[1:]:
        job.add(status, {})
    job.close(10)
    assert [value["status"] for _, value in sent(hub)] == ["INITIALIZED", *SEQUENCE]
    assert [len(changed) for _, changed in hub.commits] in ([1, 7], [1, 1, 6])
    assert hub.commits[-1][0].endswith(", ".join(SEQUENCE[-3:]))
    assert len([line for line in said if "can't be sent" in line]) == 1
    prepared, committed = (
        [one for one in hub.seen if what in one.path] for what in ("/preupload/", "/commit/")
    )
    assert len(prepared) == len(committed)  # nothing that is there was sent once more


def test_a_request_that_is_never_answered_is_made_again(
    hub: UploadHub, updates: Callable[..., Updates]
) -> None:
    hub.fail("stall", method="POST", path="/commit/", times=1)
    job = updates(limit_s=0.4)
    assert job.flush(10)
    assert [value["status"] for _, value in sent(hub)] == ["INITIALIZED"]


@pytest.mark.parametrize(
    ("token", "wished", "words"),
    [
        ("hf_expired_token_123", REPO, "refused output.huggingface.token"),
        (TOKEN, "somebody/lora", "may not write to somebody/lora"),
    ],
)
def test_a_hub_that_refuses_is_said_once_and_the_job_goes_on(
    token: str, wished: str, words: str, hub: UploadHub, updates: Callable[..., Updates], said: list[str]
) -> None:
    job = updates(wished, token)
    for status in SEQUENCE:
        job.add(status, {})
    assert job.flush(10)
    job.add("ERROR", {"error": "x"})
    job.close(5)
    assert [line for line in said if words in line] == said and len(said) == 1
    assert "hf_" not in said[0] and not hub.commits


def test_a_job_that_is_started_again_goes_on_counting_and_sends_what_was_left(
    hub: UploadHub, updates: Callable[..., Updates]
) -> None:
    first = updates()
    first.add("STARTING", {"message": "one"})
    assert first.flush(10)
    hub.fail("503", method="POST", path="/commit/")
    first.add("TRAINING", {"step": 7})
    first.close(0)
    while any(thread.name == "updates" for thread in threading.enumerate()):
        time.sleep(0.01)  # as where the process has ended
    hub.heal()
    before = len(hub.commits)
    second = updates()
    second.add("COMPLETE", {})
    second.close(10)
    values = [value for _, value in sent(hub)]
    assert [(value["update_number"], value["status"]) for value in values] == [
        (1, "INITIALIZED"),
        (2, "STARTING"),
        (3, "TRAINING"),
        (4, "COMPLETE"),
    ]
    assert values[2]["data"] == {"step": 7}
    assert [message for message, _ in hub.commits[before:]] in (
        ["Update #3: TRAINING", "Update #4: COMPLETE"],
        ["Updates #3 to #4: TRAINING, COMPLETE"],
    )


@pytest.mark.parametrize(
    ("job_id", "name"), [(JOB, "diffusion-pipe-lora-abc123-d"), ("a/../b c", None), ("1234567-", None)]
)
def test_a_repo_that_was_not_named_gets_the_originals_name(
    job_id: str, name: str | None, hub: UploadHub
) -> None:
    repo = ResultRepo(None, job_id, Access({"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}))
    assert repo.known is None
    repo.commit({"a.txt": "x"}, "first")
    assert repo.known == repo.name() and repo.name() in hub.repos
    assert re.fullmatch(r"tester/diffusion-pipe-lora-[a-z0-9-]{6,8}", repo.name())
    assert name is None or repo.name() == f"tester/{name}"


def test_a_repo_without_an_owner_is_the_tokens(hub: UploadHub, updates: Callable[..., Updates]) -> None:
    job = updates("my-lora")
    assert job.flush(10)
    assert sent(hub)[0][1]["data"]["repo_id"] == REPO


def test_a_public_repo_gets_no_updates_of_a_job_that_asked_for_a_private_one(
    hub: UploadHub, updates: Callable[..., Updates], said: list[str]
) -> None:
    hub.add(REPO, {"README.md": b"x"})
    hub.private[REPO] = False
    assert updates(private=True).flush(10)
    assert "everybody can see it" in said[0] and not hub.commits
    assert updates(private=None).flush(10)
    assert hub.commits


@pytest.mark.parametrize("output", [{"method": "volume"}, {"method": "litterbox"}])
def test_without_a_wish_for_the_hub_updates_stay_in_the_jobs_folder(
    output: dict[str, Any], hub: UploadHub, folder: JobFolder
) -> None:
    environ = {"HF_ENDPOINT": hub.url}
    secrets = {"output.huggingface.token": TOKEN}  # the endpoint's own HF_TOKEN
    job = Updates.of(request(output), secrets, folder, environ, print)
    job.add("STARTING", {"message": TOKEN})
    assert job.repo is None and job.flush(1)
    job.close(1)
    files = sorted(folder.updates.iterdir())
    assert [json.loads(path.read_text())["status"] for path in files] == ["INITIALIZED", "STARTING"]
    assert not hub.seen and not any(TOKEN in path.read_text() for path in files)


@pytest.mark.parametrize(
    "output", [{"method": "s3", "s3": {"bucket": "photos"}, "huggingface": {}}, {"method": "huggingface"}]
)
def test_a_token_makes_a_tracker_whatever_the_method(
    output: dict[str, Any], hub: UploadHub, folder: JobFolder
) -> None:
    keys = {"output.s3.access_key": "AKIAEXAMPLE", "output.s3.secret_key": "averysecret"}
    secrets = {"output.huggingface.token": TOKEN, **keys}
    dataset = {"type": "precaptioned", "images_url": "https://example.com/a.zip"}
    asked = read_request({"model_type": "qwen", "dataset": dataset, "output": output}, secrets=secrets)
    job = Updates.of(asked, secrets, folder, {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "1"}, print)
    job.add("ERROR", {"error": "averysecret and AKIAEXAMPLE"})
    job.close(10)
    text = "".join(
        content.decode() for content in hub.repos["tester/diffusion-pipe-lora-abc123-d"].files.values()
    )
    assert "*** and ***" in text and "averysecret" not in text


def test_a_name_that_is_no_repo_is_refused_before_anything_is_done(folder: JobFolder) -> None:
    asked = request({"method": "huggingface", "huggingface": {"repo_id": "me/lora--x"}})
    with pytest.raises(RequestError, match=r"output\.huggingface\.repo_id"):
        Updates.of(asked, {"output.huggingface.token": TOKEN}, folder, {}, print)


def test_a_full_disk_costs_the_job_nothing(
    hub: UploadHub, folder: JobFolder, updates: Callable[..., Updates], said: list[str]
) -> None:
    folder.updates.write_text("a file where the folder should be")
    job = updates()
    job.add("STARTING", {})
    job.close(10)
    assert [value["status"] for _, value in sent(hub)] == ["INITIALIZED", "STARTING"]
    assert any("could not be written" in line for line in said)


@pytest.mark.parametrize("last", ["COMPLETE", "ERROR"])
def test_the_documented_monitoring_client_follows_a_job_to_its_end(
    last: str, hub: UploadHub, updates: Callable[..., Updates], tmp_path: Path
) -> None:
    link = f"{hub.url}/{REPO}/resolve/main/adapter_model.safetensors?download=true"
    client = MonitoringClient(hub.url, TOKEN, REPO, tmp_path / "cache")
    job = updates()
    assert job.flush(10)
    client.start()
    for status in SEQUENCE[:-1]:
        job.add(status, {"message": f"now {status}"})
        time.sleep(0.05)
    job.add(last, {"message": "done", "direct_download_url": link, "error": "it broke"})
    job.close(10)
    came = client.result()
    assert came == link if last == "COMPLETE" else isinstance(came, RuntimeError) and str(came) == "it broke"
    assert [line.partition(":")[0] for line in client.printed] == ["INITIALIZED", *SEQUENCE[:-1], last]
