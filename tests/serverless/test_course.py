"""One try at a job, without a training: what it answers and notes when something is not as it should be."""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from musabi.job.record import RunFolder
from musabi.serverless.answers import cancelled
from musabi.serverless.attempt import end, last_attempt, start
from musabi.serverless.context import Stopped
from musabi.serverless.course import Course, still_standing
from musabi.serverless.job_folder import JobFolder
from musabi.serverless.phases.train import wait_for_the_last
from musabi.serverless.work import watch_for_stop
from peers.intake_job import Job
from peers.loopback_files import running_files
from peers.recording_network import RecordingNetwork

WORK = """
import pathlib, signal, sys, time
def end(number, frame):
    pathlib.Path(sys.argv[1], "saved").touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1], "ready").touch()
time.sleep(60)
"""


def a_job(path: Path, **request: Any) -> JobFolder:
    folder = JobFolder(path)
    folder.make("one", {"model_type": "sdxl", **request})
    return folder


def outcomes(folder: JobFolder, *names: str) -> dict[str, Any]:
    every = {
        "dataset": {"images_folder": str(folder.images), "videos_folder": None},
        "captions": {"captioned": 0},
        "check": {"findings": []},
        "training": {"run": "lora-1"},
        "uploading": {"output": {}},
    }
    return {name: every[name] for name in names}


BEFORE = ("dataset", "captions", "check")


def test_a_secret_that_the_endpoint_does_not_have_is_answered_in_words(tmp_path: Path) -> None:
    folder = a_job(tmp_path / "one")
    given = {"output.huggingface.token": "env:MUSABI_SECRET_HF"}
    assert Course(folder, given, {"WORKSPACE": str(tmp_path)}, threading.Event()).run() == 0
    answer = folder.result() or {}
    assert answer["status"] == "failed" and "MUSABI_SECRET_HF" in answer["error"]


def test_phases_whose_files_were_removed_are_done_again(tmp_path: Path) -> None:
    folder = a_job(tmp_path / "one")
    assert still_standing(outcomes(folder, *BEFORE), folder) == {}
    assert still_standing(outcomes(folder, *BEFORE, "training"), folder) == {}
    folder.images.mkdir(parents=True)
    assert still_standing(outcomes(folder, *BEFORE, "training"), folder).keys() == set(BEFORE)


def test_a_training_needs_no_dataset_any_more_and_a_delivery_nothing(tmp_path: Path) -> None:
    folder = a_job(tmp_path / "one")
    every = outcomes(folder, *BEFORE, "training", "uploading")
    assert still_standing(every, folder) == every
    record = RunFolder(folder.space.runs / "lora-1").record_file
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    folder.output.mkdir(parents=True)
    (folder.output / "lora.safetensors").touch()
    trained = outcomes(folder, *BEFORE, "training")
    assert still_standing(trained, folder) == trained


def test_a_job_is_ended_though_a_full_disk_takes_no_word(tmp_path: Path) -> None:
    folder = a_job(tmp_path / "one")
    program = tmp_path / "work.py"
    program.write_text(WORK)
    attempt, process = start(folder, {}, {}, (sys.executable, str(program)))
    assert last_attempt(folder) == attempt
    waits = threading.Event()
    for _ in range(200):
        if (folder.path / "ready").exists():
            break
        waits.wait(0.05)
    folder.stop_file.mkdir()  # it can't be replaced by a file
    end(folder, attempt, "cancelled", patience_s=20.0)
    assert process.wait(timeout=10) == 0 and (folder.path / "saved").exists()


def test_a_cancelled_job_says_what_its_trainer_did_not_save(tmp_path: Path) -> None:
    folder = a_job(tmp_path / "one")
    folder.note_phases(outcomes(folder, *BEFORE))
    assert "kept" in cancelled(folder, "cancelled")["error"]
    run = folder.space.runs / "lora-1"
    run.mkdir(parents=True)
    said = "Stopped at step 7 of 9. The newest state is of step 4; 3 steps since then are lost."
    values = {"id": "lora-1", "container": "", "job": {}, "plan": {}, "versions": {}, "steps": []}
    (run / "record.json").write_text(json.dumps(values | {"state": "stopped", "message": said}))
    assert said in cancelled(folder, "cancelled")["error"]


def test_a_stop_is_seen_after_the_volume_stuttered(tmp_path: Path) -> None:
    folder, stop = a_job(tmp_path / "one"), threading.Event()
    folder.stop_file.mkdir()  # reading it is an OSError that is no missing file
    watch = threading.Thread(target=watch_for_stop, args=(folder, stop), daemon=True)
    watch.start()
    watch.join(timeout=1.2)
    assert watch.is_alive() and not stop.is_set()
    folder.stop_file.rmdir()
    folder.ask_to_stop("cancelled")
    assert stop.wait(timeout=5)


def test_a_run_of_a_worker_that_died_is_waited_for_until_it_counts_as_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musabi.job.record.SILENT_SECONDS", 1.5)
    with running_files() as files:
        job = Job(JobFolder(tmp_path / "one"), files, RecordingNetwork())
        context = job.context({"type": "precaptioned", "images_url": "https://files.example/a.zip"})
        run = RunFolder(job.folder.space.runs / "lora-1")
        run.path.mkdir(parents=True)
        values = {
            "id": "lora-1",
            "container": "another pod x",
            "job": {},
            "plan": {},
            "versions": {},
            "steps": [],
        }
        run.record_file.write_text(
            json.dumps(values | {"state": "running", "created": 1.0, "pid": 1, "pid_started": 1.0})
        )
        run.beat()
        began = time.monotonic()
        wait_for_the_last(context)
        assert 1.0 < time.monotonic() - began < 10
        run.beat()
        job.stop.set()
        with pytest.raises(Stopped):
            wait_for_the_last(context)


def test_a_full_disk_keeps_the_progress_from_the_client_and_no_more(tmp_path: Path) -> None:
    with running_files() as files:
        job = Job(JobFolder(tmp_path / "one"), files, RecordingNetwork())
        context = job.context({"type": "precaptioned", "images_url": "https://files.example/a.zip"})
        job.folder.progress_file.mkdir()  # it can't be replaced by a file
        context.tell("training", "Training epoch 1...")
