"""The process that does a job: what it loads, what becomes of its answer, and who speaks for it once it is gone."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from musabi.job.launch import STOP_SECONDS
from musabi.serverless.answers import failed
from musabi.serverless.attempt import SAVE_SECONDS, say_failed
from musabi.serverless.course import Course
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.request.secrets import split_secrets
from peers.loopback_hub_uploads import UploadHub
from serverless.conftest import TOKEN

HEAVY = (
    "torch",
    "numpy",
    "PIL",
    "transformers",
    "diffusers",
    "huggingface_hub",
    "httpx",
    "boto3",
    "runpod",
    "fastapi",
)
"""What costs a tenth of a second or more. The parts that need one load it when they are at work."""


def test_a_job_begins_without_what_only_its_later_phases_need() -> None:
    asked = f"import sys, musabi.serverless.course; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_what_ends_a_job_waits_longer_than_the_job_waits_for_its_run() -> None:
    assert SAVE_SECONDS >= STOP_SECONDS + 20, "else it is killed before it can answer"


def test_the_hub_is_told_of_a_job_whose_process_was_killed(
    tmp_path: Path, hub: UploadHub, ask_for: Callable[..., dict[str, Any]]
) -> None:
    asked, secrets = split_secrets(ask_for("tester/killed")["input"])
    folder = JobFolder(tmp_path / "one")
    folder.make("one", asked)
    folder.finish(failed("The job's process was killed."))
    environ = {
        "PATH": os.environ["PATH"],
        "WORKSPACE": str(tmp_path),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
    }
    say_failed(folder, secrets, environ)
    told = {name: file for name, file in hub.repos["tester/killed"].files.items() if "_ERROR" in name}
    assert len(told) == 1, folder.log_file.read_text()
    value = json.loads(hub.repos["tester/killed"].files[next(iter(told))])
    assert value["status"] == "ERROR" and value["data"] == {"error": "The job's process was killed."}
    assert not any(TOKEN.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 256 KiB."""
    folder = tmp_path / "volume"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def work_on_a_full_disk(folder: JobFolder, filling: Path) -> subprocess.CompletedProcess[bytes]:
    """Fill the disk with one file, and do a job that fails at once."""
    folder.make("one", {"model_type": "sdxl"})
    folder.log_file.touch()
    (folder.path / "work.lock").touch()
    filling.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError), filling.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with folder.log_file.open("ab") as log:
        return subprocess.run(
            [sys.executable, "-m", "musabi.serverless.work", str(folder.path)],
            input=b'{"output.huggingface.token": "env:MUSABI_SECRET_HF"}',
            env={"PATH": os.environ["PATH"], "WORKSPACE": str(folder.path.parent)},
            stdout=log,
            stderr=log,
            timeout=60,
            check=False,
        )


@pytest.mark.parametrize("name", ["download/archive.part", "dataset/cache/latents.safetensors"])
def test_an_answer_makes_room_for_itself_on_a_full_disk(small_disk: Path, name: str) -> None:
    folder = JobFolder(small_disk / "one")
    work_on_a_full_disk(folder, folder.path / name)
    answer = json.loads(folder.result_file.read_text())
    assert "MUSABI_SECRET_HF" in answer["error"] and not (folder.path / name).exists()


def test_an_answer_lies_elsewhere_where_the_disk_stays_full(small_disk: Path) -> None:
    folder = JobFolder(small_disk / "one")
    filling = small_disk / "of another"
    work_on_a_full_disk(folder, filling)
    assert not folder.result_file.exists()
    assert "MUSABI_SECRET_HF" in (folder.result() or {})["error"]
    assert JobFolder(small_disk / "two").result() is None
    filling.unlink()
    folder.make("one", {"model_type": "sdxl"})
    assert folder.result() is None


def test_a_log_that_takes_no_more_ends_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    course = Course(JobFolder(tmp_path / "one"), {}, {}, threading.Event())
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        course._say("a line")
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()
