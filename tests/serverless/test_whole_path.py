"""From an HTTP request to files in the hub: a real training of a small model, and what can come between."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load

from musabi.serverless.attempt import processes_of
from musabi.serverless.job_folder import JobFolder
from peers.installers import Installers
from peers.loopback_hub_uploads import UploadHub
from serverless.conftest import EPOCHS, REPO, TOKEN, Endpoint

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("endpoint")]

AskFor = Callable[..., dict[str, Any]]
LORA = "adapter_model.safetensors"


def test_a_request_becomes_a_lora_in_the_hub(
    done: dict[str, Any], endpoint: Endpoint, hub: UploadHub
) -> None:
    answer = done["output"]
    assert answer["status"] == "success" and answer["job_id"] == done["id"]
    assert (answer["epochs_completed"], answer["latest_epoch"]) == (EPOCHS, f"epoch{EPOCHS}")
    link = f"{hub.url}/{REPO}/resolve/main/{LORA}?download=true"
    assert answer["output"]["download_url"] == answer["output"]["safetensors_url"] == link
    files = hub.repos[REPO].files
    assert {LORA, "adapter_config.json", "README.md"} <= files.keys()
    tensors = load(files[LORA])
    assert tensors and all(name.startswith("diffusion_model.") for name in tensors)
    captions = [file.read_text() for file in endpoint.folder(done["id"]).glob("dataset/images/*.txt")]
    assert len(captions) == 5 and all(text.startswith("ohwx") for text in captions)


def test_a_job_starts_no_installer(done: dict[str, Any], installers: Installers) -> None:
    assert done["status"] == "COMPLETED"
    assert installers.started == []
    found = installers.before(os.environ["PATH"])
    for argv in (["uv", "pip", "install", "x"], [sys.executable, "-P", "-m", "pip", "install", "x"]):
        subprocess.run(argv, env=os.environ | found, timeout=30, check=False)
    seen = installers.started
    installers.forget()
    assert seen == ["uv pip install x", "python -m pip install x"], "the stand-ins would have told"


def test_the_updates_tell_its_course(done: dict[str, Any], hub: UploadHub) -> None:
    files = hub.repos[REPO].files
    names = sorted(name for name in files if name.startswith("UPDATES/"))
    told = [json.loads(files[name]) for name in names]
    assert [one["update_number"] for one in told] == list(range(1, len(told) + 1))
    assert [one["status"] for one in told] == [
        "INITIALIZED",
        "STARTING",
        "DOWNLOADING",
        "MODEL_DOWNLOAD",
        "TRAINING",
        "TRAINING_COMPLETE",
        "UPLOADING",
        "COMPLETE",
    ]


def test_no_secret_is_left_anywhere(done: dict[str, Any], endpoint: Endpoint, hub: UploadHub) -> None:
    def holds(path: Path, secret: bytes) -> bool:
        return path.is_file() and not path.is_symlink() and secret in path.read_bytes()

    # Other jobs, which can still be retried, have theirs here.
    vault = endpoint.root / "state" / "endpoint-secrets"
    own = hashlib.sha256(done["id"].encode()).hexdigest()
    for secret in (TOKEN.encode(), b"SECRETQUERY"):
        found = [path for path in endpoint.root.rglob("*") if holds(path, secret)]
        assert [path for path in found if path.parent != vault or path.stem == own] == []
        assert not any(secret in content for content in hub.repos[REPO].files.values())


def test_a_job_that_is_killed_with_its_server_goes_on_and_equals_one_that_was_not(
    done: dict[str, Any], endpoint: Endpoint, hub: UploadHub, ask_for: AskFor
) -> None:
    job = endpoint.run(ask_for("tester/killed"))
    endpoint.until(job, lambda status: (status.get("output") or {}).get("epoch", 0) >= EPOCHS // 3)
    endpoint.signal(signal.SIGKILL)
    for pid in list(processes_of(JobFolder(endpoint.folder(job)))):
        os.kill(pid, signal.SIGKILL)
    endpoint.start()
    status = endpoint.result(job)
    assert status["status"] == "COMPLETED", (status, endpoint.log(job))
    made, expected = (load(hub.repos[repo].files[LORA]) for repo in ("tester/killed", REPO))
    assert made.keys() == expected.keys()
    assert all((made[name] == expected[name]).all() for name in made)


def test_a_cancelled_job_goes_on_at_retry_and_one_whose_upload_failed_is_not_trained_again(
    endpoint: Endpoint, hub: UploadHub, ask_for: AskFor
) -> None:
    job = endpoint.run(ask_for("tester/retried"))
    endpoint.until(job, lambda status: (status.get("output") or {}).get("epoch", 0) >= EPOCHS // 3)
    assert endpoint.ask("POST", f"/cancel/{job}") == {"id": job, "status": "CANCELLED"}
    assert endpoint.status(job)["status"] == "CANCELLED"

    hub.fail("403", path="/commit/", method="POST")
    endpoint.ask("POST", f"/retry/{job}")
    status = endpoint.result(job)
    assert status["status"] == "FAILED" and "/retry uploads it again" in status["error"]
    runs = endpoint.folder(job) / "workspace" / "runs"
    first, second = sorted(runs.glob("*/record.json"))
    assert json.loads(second.read_text())["resumed_from"] == first.parent.name

    hub.heal()
    endpoint.ask("POST", f"/retry/{job}")
    assert endpoint.result(job)["status"] == "COMPLETED"
    assert sorted(runs.glob("*/record.json")) == [first, second]
    assert LORA in hub.repos["tester/retried"].files


@pytest.mark.full
def test_a_job_that_takes_too_long_is_ended_with_its_state_saved(endpoint: Endpoint, ask_for: AskFor) -> None:
    request = ask_for("tester/long", training={"epochs": 4000}) | {"policy": {"executionTimeout": 90_000}}
    job = endpoint.run(request)
    assert endpoint.result(job)["status"] == "TIMED_OUT"
    assert list((endpoint.folder(job) / "workspace" / "output").glob("*-state"))
