"""A result reaches the hub by the real client: in one commit, private by default, with COMPLETE behind it."""

import json
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from musabi.children import Cancelled
from musabi.errors import MachineError, MusabiError, RequestError
from musabi.serverless.context import Context, Stopped
from musabi.serverless.delivery.deliver import deliver, require_deliverable
from musabi.serverless.delivery.way import Patience
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.parts import Trained
from peers.loopback_hub_uploads import UploadHub

REPO = "tester/my-lora"
TOKEN = "hf_averysecrettoken1234567890"
HURRY = Patience(attempts=3, backoff_s=0.05)
WISH = {"method": "huggingface", "huggingface": {"repo_id": REPO}}
FILES = {"adapter_model.safetensors", "adapter_config.json", "native/ohwx.safetensors", "README.md"} | {
    f"samples/ohwx_e000004_{n:02d}_2026013114050{n}_42.png" for n in range(2)
}


def updates_of(hub: UploadHub, repo: str = REPO) -> list[dict[str, Any]]:
    files = hub.repos[repo].files
    return [json.loads(files[name]) for name in sorted(files) if name.startswith("UPDATES/")]


def test_the_result_lies_in_the_repo_and_the_answer_is_the_documented_one(
    job: Callable[..., Context], trained: Trained, hub: UploadHub, folder: JobFolder
) -> None:
    context = job(WISH)
    context.updates.add("UPLOADING", {"message": "Uploading results"})
    delivery = deliver(context, trained, HURRY)
    context.updates.close(10)
    link = f"{hub.url}/{REPO}/resolve/main/adapter_model.safetensors?download=true"
    assert delivery.as_json() == {
        "download_url": link,
        "safetensors_url": link,
        "repo_url": f"{hub.url}/{REPO}",
        "download_method": "huggingface",
        "expires_in_days": None,
        "archive_size_mb": None,
        "network_volume_path": str(trained.comfy.parent),
        "note": "Direct download link for your trained LoRA safetensors file",
    }
    assert hub.private == {REPO: True} and not delivery.warnings
    files = hub.repos[REPO].files
    assert files["adapter_model.safetensors"] == trained.comfy.read_bytes()
    result = [set(changed) for message, changed in hub.commits if not message.startswith("Update")]
    assert result == [FILES]
    told = updates_of(hub)
    assert [one["status"] for one in told] == ["INITIALIZED", "UPLOADING", "COMPLETE"]
    assert hub.commits[-1][0] == "Update #3: COMPLETE"
    assert told[-1]["data"] == {
        "message": "Training completed successfully!",
        "repository_url": f"{hub.url}/{REPO}",
        "direct_download_url": link,
        "instructions": "Use the direct_download_url to download your trained LoRA safetensors file.",
        "files_uploaded": list(delivery.files),
        "safetensors_files": ["adapter_model.safetensors", "native/ohwx.safetensors"],
    }
    assert told[-1]["data"]["files_uploaded"][:2] == ["adapter_model.safetensors", "adapter_config.json"]
    assert not (folder.path / "delivery").exists()
    kept = subprocess.run(
        ["grep", "-rl", TOKEN, str(folder.path)], capture_output=True, text=True, timeout=10
    )
    assert kept.stdout == ""
    assert not any(TOKEN.encode() in content for content in files.values())


def test_a_public_repo_is_one_on_request_and_what_else_lies_there_stays(
    job: Callable[..., Context], trained: Trained, hub: UploadHub
) -> None:
    hub.add(REPO, {"README.md": b"mine", "old.safetensors": b"kept"})
    hub.private[REPO] = True
    context = job({"method": "huggingface", "huggingface": {"repo_id": REPO, "private": False}})
    deliver(context, trained, HURRY)
    assert hub.private == {REPO: False}
    assert hub.repos[REPO].files["old.safetensors"] == b"kept"
    assert b"load_lora_weights" in hub.repos[REPO].files["README.md"]


@pytest.mark.parametrize("private", [True, None])
def test_a_repo_that_is_public_already_is_used_only_where_nothing_was_said(
    private: bool | None, job: Callable[..., Context], trained: Trained, hub: UploadHub
) -> None:
    hub.add(REPO, {"README.md": b"mine"})
    hub.private[REPO] = False
    wish = {"repo_id": REPO} | ({} if private is None else {"private": private})
    context = job({"method": "huggingface", "huggingface": wish})
    if private:
        with pytest.raises(
            RequestError, match=r"everybody can see it. Set output.huggingface.private to false"
        ):
            require_deliverable(context)
        with pytest.raises(MachineError, match="everybody can see it"):
            deliver(context, trained, HURRY)
        assert hub.repos[REPO].files == {"README.md": b"mine"}
    else:
        assert require_deliverable(context) == ()
        assert deliver(context, trained, HURRY).warnings == (f"{REPO} can be seen by everybody.",)
        assert hub.private == {REPO: False}


def test_the_files_go_when_the_updates_before_them_are_there(
    job: Callable[..., Context], trained: Trained, hub: UploadHub
) -> None:
    """Two writers at once would get in each other's way."""
    context = job(WISH)
    assert context.updates.flush(10)
    hub.fail("503", method="POST", path="/commit/", times=1)
    context.updates.add("UPLOADING", {})
    deliver(context, trained, HURRY)
    assert [message.partition(":")[0] for message, _ in hub.commits[:3]] == [
        "Update #1",
        "Update #2",
        "Publish ohwx with musabi",
    ]


def test_an_upload_that_fails_now_and_then_comes_through(
    job: Callable[..., Context], trained: Trained, hub: UploadHub, said: list[str]
) -> None:
    context = job(WISH)
    assert context.updates.flush(10)
    hub.fail("412", method="POST", path="/commit/", times=1)
    assert deliver(context, trained, HURRY).download_method == "huggingface"
    assert any("trying again" in line for line in said)


def test_an_upload_that_fails_for_good_is_an_error_and_a_retry_uploads_what_is_missing(
    job: Callable[..., Context], trained: Trained, hub: UploadHub
) -> None:
    """As where a token runs out while the files are on their way."""
    context = job(WISH)
    assert context.updates.flush(10)
    hub.fail("401", method="POST", path="/commit/")
    with pytest.raises(MachineError, match=r"HuggingFace upload failed: .* refused output\.hugg") as failed:
        deliver(context, trained, HURRY)
    assert TOKEN not in str(failed.value) and "HF_TOKEN" not in str(failed.value)
    context.updates.add("ERROR", {"error": str(failed.value)})
    context.updates.close(0)
    hub.heal()
    arrived = dict(hub.received)
    again = job(WISH)
    deliver(again, trained, HURRY)
    again.updates.close(10)
    assert hub.received == arrived
    assert [one["status"] for one in updates_of(hub)] == ["INITIALIZED", "ERROR", "COMPLETE"]


def test_a_job_that_is_cancelled_while_it_uploads_ends(
    job: Callable[..., Context], trained: Trained, hub: UploadHub
) -> None:
    context = job(WISH)
    assert context.updates.flush(10)
    hub.fail("stall", method="PUT", path="/lfs/")

    def cancel() -> None:
        while not any(seen.path.startswith("/lfs/") for seen in hub.seen):
            time.sleep(0.02)
        context.stop.set()

    threading.Thread(target=cancel, daemon=True).start()
    with pytest.raises(Cancelled):
        deliver(context, trained, HURRY)
    with pytest.raises(Stopped):
        deliver(context, trained, HURRY)
    assert "adapter_model.safetensors" not in hub.repos[REPO].files


@pytest.mark.parametrize(
    ("secrets", "repo", "words"),
    [
        ({"output.huggingface.token": "hf_expired_token"}, REPO, "refused output.huggingface.token"),
        ({"output.huggingface.token": "hf_onlyreads123"}, REPO, "may not write to tester/my-lora"),
        ({"output.huggingface.token": TOKEN}, "somebody/lora", "may not write to somebody/lora"),
    ],
)
def test_a_token_that_will_not_do_is_found_before_the_training(
    secrets: dict[str, str], repo: str, words: str, job: Callable[..., Context], hub: UploadHub
) -> None:
    hub.tokens["hf_onlyreads123"] = "read"
    context = job({"method": "huggingface", "huggingface": {"repo_id": repo}}, secrets)
    with pytest.raises(MusabiError, match=words) as refused:
        require_deliverable(context)
    assert "hf_" not in str(refused.value)
