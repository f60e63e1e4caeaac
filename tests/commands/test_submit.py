"""The verb submit: what becomes of a file, and what a person sees of it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from musabi.commands.asking_endpoints import connected
from musabi.serverless.client.submission import numbered
from peers.job_verbs import EXAMPLE, JobVerbs
from peers.loopback_runpod_queue import KEY, Job

JOB_FILE = """\
model = "z-image"
output_name = "robot"
output_dir = "output"
dataset_config = "dataset.toml"
sample_prompts = "sample_prompts.txt"
max_train_epochs = 20
network_dim = 16
network_alpha = 8
learning_rate = 1e-4
optimizer = "adamw8bit"
seed = 7
trigger_word = "ohwx"
publish_to = "hf:user/robot"
on_finish = "stop"
"""


def test_a_request_is_sent_as_it_is_and_found_again(
    verbs: JobVerbs, request_file: Path, tmp_path: Path
) -> None:
    printed = verbs.ok("submit", str(request_file), "--endpoint", verbs.queue.url)
    (job,) = verbs.queue.jobs.values()
    assert job.input == EXAMPLE and job.policy == {"ttl": 90_000}
    assert f"robot: {job.id}" in printed and "Note" not in printed
    (found,) = verbs.json("jobs")
    assert found["id"] == job.id and found["name"] == "robot" and found["endpoint"] == verbs.queue.url
    assert KEY not in (tmp_path / "state" / "endpoint-jobs.json").read_text()


def test_the_input_alone_is_a_request_and_a_token_in_it_is_warned_of(verbs: JobVerbs, tmp_path: Path) -> None:
    token = "hf_markedtoken12345"
    path = tmp_path / "alone.json"
    path.write_text(json.dumps(EXAMPLE | {"output": {"huggingface": {"token": token, "repo_id": "a/b"}}}))
    printed = verbs.ok("submit", str(path), "--endpoint", verbs.queue.url)
    assert "env:MUSABI_SECRET_" in printed and token not in printed
    assert token not in (tmp_path / "state" / "endpoint-jobs.json").read_text()
    assert next(iter(verbs.queue.jobs.values())).input["output"]["huggingface"]["token"] == token


def test_several_jobs_have_seeds_of_their_own(verbs: JobVerbs, request_file: Path) -> None:
    sent = verbs.json("submit", str(request_file), "--endpoint", verbs.queue.url, "--count", "3")
    assert [one["name"] for one in sent] == ["robot-seed42", "robot-seed43", "robot-seed44"]
    assert [job.input["training"]["seed"] for job in verbs.queue.jobs.values()] == [42, 43, 44]
    given = {"input": {"training": {"seed": 100, "epochs": 2}}}
    assert [one["input"]["training"] for one in numbered(given, 2)] == [
        {"seed": 100, "epochs": 2},
        {"seed": 101, "epochs": 2},
    ]
    assert given["input"]["training"]["seed"] == 100


def test_a_wrong_request_is_refused_here_with_all_its_mistakes(verbs: JobVerbs, tmp_path: Path) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(EXAMPLE | {"training": {"epochs": 0, "lora_rank": "many"}}))
    message = verbs.refused("submit", str(path), "--endpoint", verbs.queue.url)
    assert "training.epochs" in message and "training.lora_rank" in message and not verbs.queue.jobs


def test_a_job_file_becomes_a_request(verbs: JobVerbs, tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(JOB_FILE)
    (tmp_path / "dataset.toml").write_text(
        "[general]\nresolution = [768, 512]\nbatch_size = 2\n[[datasets]]\n"
    )
    words = ("submit", str(path), "--endpoint", verbs.queue.url)
    assert "--images" in verbs.refused(*words)
    printed = verbs.ok(*words, "--images", "https://example.com/a.zip")
    (job,) = verbs.queue.jobs.values()
    assert job.input == {
        "model_type": "z-image",
        "engine": "auto",
        "dataset": {
            "type": "precaptioned",
            "images_url": "https://example.com/a.zip",
            "trigger_word": "ohwx",
        },
        "training": {
            "gradient_accumulation_steps": 1,
            "optimizer_type": "adamw8bit",
            "resolution": [768, 512],
            "batch_size": 2,
            "epochs": 20,
            "lora_rank": 16,
            "learning_rate": 1e-4,
            "seed": 7,
        },
        "output": {"method": "huggingface", "huggingface": {"repo_id": "user/robot"}},
    }
    assert "robot:" in printed
    for left in ("network_alpha", "sample_prompts", "output_dir", "on_finish"):
        assert f"{left} is left out" in printed


def test_an_endpoint_on_runpod_needs_its_key(verbs: JobVerbs, request_file: Path) -> None:
    assert "RUNPOD_API_KEY is not set" in verbs.refused("submit", str(request_file), "--endpoint", "abc123")
    assert verbs.queue.asked == []


def test_a_key_that_would_go_over_the_network_as_it_is_is_warned_of(
    verbs: JobVerbs, capsys: pytest.CaptureFixture[str]
) -> None:
    for address, warned in (
        ("http://gpu.example:8000", True),
        ("https://gpu.example", False),
        (verbs.queue.url, False),
    ):
        with connected(address):  # no packet: nothing is asked
            said = capsys.readouterr().err
        assert ("not encrypted" in said) is warned and KEY not in said


def test_what_is_waited_for_is_told_as_json_once_all_have_ended(verbs: JobVerbs, request_file: Path) -> None:
    def end(job: Job) -> None:
        job.state = "COMPLETED"

    verbs.queue.on_status = end
    ended = verbs.json("submit", str(request_file), "--endpoint", verbs.queue.url, "--count", "2", "--wait")
    assert [job["state"] for job in ended] == ["COMPLETED", "COMPLETED"]


def test_a_job_that_failed_as_it_was_taken_says_why_at_once_and_goes_on_saying_it(
    verbs: JobVerbs, request_file: Path
) -> None:
    verbs.queue.refuses = "output.huggingface.token names MUSABI_SECRET_HF, which the endpoint does not have."
    for words in ((), ("--wait",), ("--count", "2")):
        sent = verbs.run("submit", str(request_file), "--endpoint", verbs.queue.url, *words)
        assert sent.exit_code == 4 and "names MUSABI_SECRET_HF" in sent.output, words
        assert "jobs watch" not in sent.output
    one = next(iter(verbs.queue.jobs))
    assert "names MUSABI_SECRET_HF" in verbs.ok(
        "jobs", "cancel", one
    )  # too late: nothing is forgotten for it
    assert "names MUSABI_SECRET_HF" in verbs.ok("jobs")


def test_a_submission_that_breaks_off_says_how_many_were_taken(verbs: JobVerbs, request_file: Path) -> None:
    verbs.queue.cut_after = 2
    done = verbs.run("submit", str(request_file), "--endpoint", verbs.queue.url, "--count", "5")
    assert done.exception is not None and "not sent again" in str(done.exception)
    assert "2 of 5 jobs were taken" in str(done.exception) and len(verbs.json("jobs")) == 2


@pytest.mark.slow
def test_ctrl_c_leaves_the_jobs_running(verbs: JobVerbs, request_file: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "musabi",
        "submit",
        str(request_file),
        "--endpoint",
        verbs.queue.url,
        "--wait",
    ]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        verbs.queue.wait_for(lambda: "status" in verbs.queue.asked)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130 and "The jobs go on" in out
    assert [job.state for job in verbs.queue.jobs.values()] == ["IN_QUEUE"]


def test_ctrl_c_while_jobs_are_sent_says_how_many_go_on(
    verbs: JobVerbs, request_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = verbs.queue.submit

    def interrupted(*given: Any) -> str:
        if len(verbs.queue.jobs) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return submit(*given)

    monkeypatch.setattr(verbs.queue, "submit", interrupted)
    done = verbs.run("submit", str(request_file), "--endpoint", verbs.queue.url, "--count", "5")
    assert done.exit_code == 130 and "2 of 5 jobs were taken, and go on" in done.output
