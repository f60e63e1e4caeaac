"""The verbs jobs, jobs watch, jobs cancel and jobs retry."""

import json
from pathlib import Path

import pytest

from musabi.commands.asking_endpoints import find
from musabi.errors import RequestError
from musabi.serverless.client.remembered import KnownJob
from peers.job_verbs import JobVerbs
from peers.loopback_runpod_queue import KEY, Job


def test_jobs_are_watched_until_all_have_ended(verbs: JobVerbs, request_file: Path) -> None:
    sent = verbs.json("submit", str(request_file), "--endpoint", verbs.queue.url, "--count", "3")
    first, second, third = [verbs.queue.jobs[one["id"]] for one in sent]
    url = "https://huggingface.co/a/b/resolve/main/adapter_model.safetensors?download=true"
    first.state, first.output = "COMPLETED", {"status": "success", "output": {"safetensors_url": url}}
    second.state, second.output = (
        "IN_PROGRESS",
        {"message": "Training epoch 3 of 9...", "step": 5, "steps": 9},
    )
    third.state, third.error = "FAILED", "The dataset holds no images."
    table = verbs.ok("jobs")
    assert "step 5/9" in table and url in table and "The dataset holds no images." in table

    def end(job: Job) -> None:
        if job is second:
            second.state, second.output = "COMPLETED", {"status": "success", "output": {}}
        if job is third and third.state == "IN_QUEUE":
            third.state, third.error = "FAILED", "Again."

    verbs.queue.on_status = end
    assert "2 done, 1 failed." in verbs.ok("jobs", "watch")  # what had failed before is no news
    assert verbs.json("jobs", "retry", third.id)[0]["state"] == "IN_QUEUE"
    watched = verbs.run("jobs", "watch")
    assert watched.exit_code == 4 and "2 done, 1 failed." in watched.output and "Again." in watched.output
    states = [one["state"] for one in json.loads(verbs.run("jobs", "--json").output)["jobs"]]
    assert states == ["COMPLETED", "COMPLETED", "FAILED"]
    verbs.queue.jobs.clear()  # the endpoint forgets; what was seen is still known
    assert url in verbs.ok("jobs")


def test_jobs_are_cancelled_and_retried_by_the_first_letters_of_their_ids(
    verbs: JobVerbs, request_file: Path
) -> None:
    ids = [
        one["id"]
        for one in verbs.json("submit", str(request_file), "--endpoint", verbs.queue.url, "--count", "3")
    ]
    verbs.ok("jobs", "cancel", ids[0][:8])
    assert verbs.queue.jobs[ids[0]].state == "CANCELLED"
    verbs.ok("jobs", "cancel", "--all")
    assert {job.state for job in verbs.queue.jobs.values()} == {"CANCELLED"}
    verbs.queue.jobs[ids[1]].state = "TIMED_OUT"
    retried = verbs.json("jobs", "retry", ids[1])[0]
    assert retried["state"] == "IN_QUEUE" and retried["seconds"] is None
    assert "No job zzzz" in verbs.refused("jobs", "cancel", "zzzz")
    assert "does not know" in verbs.refused("jobs", "cancel", "zzzz", "--endpoint", verbs.queue.url)
    assert "Say which" in verbs.refused("jobs", "cancel")
    assert "Say which" in verbs.refused("jobs", "retry")
    twins = [KnownJob("twin-a", "abc", "a"), KnownJob("twin-b", "abc", "b")]
    assert find("twin-a", twins, None) == twins[0]
    with pytest.raises(RequestError, match="2 jobs begin with twin"):
        find("twin", twins, None)
    assert find("twin", twins, "abc-other").endpoint == "abc-other"


def test_a_retry_brings_the_secrets_of_the_file_that_a_job_was_submitted_from(
    verbs: JobVerbs, request_file: Path, tmp_path: Path
) -> None:
    token, signed = "hf_markedtoken12345", "https://example.com/a.zip?signature=MARKED"
    asked = json.loads(request_file.read_text())
    asked["input"]["output"]["huggingface"]["token"] = token
    asked["input"]["dataset"]["images_url"] = signed
    request_file.write_text(json.dumps(asked))
    job = verbs.json("submit", str(request_file), "--endpoint", verbs.queue.url)[0]["id"]
    kept = (tmp_path / "state" / "endpoint-jobs.json").read_text()
    assert str(request_file) in kept and token not in kept and "MARKED" not in kept

    def retry(*words: str) -> dict[str, object]:
        verbs.queue.jobs[job].state = "FAILED"
        assert token not in verbs.ok("jobs", "retry", job, *words)
        return dict(verbs.queue.retried_with[-1] or {})

    brought = {"output": {"huggingface": {"token": token}}, "dataset": {"images_url": signed}}
    assert retry() == {"input": brought}
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"api_keys": {"gemini_api_key": "env:MUSABI_SECRET_G"}}))
    assert retry("--request", str(other)) == {
        "input": {"api_keys": {"gemini_api_key": "env:MUSABI_SECRET_G"}}
    }
    request_file.unlink()
    verbs.queue.jobs[job].state = "FAILED"
    assert "no secrets were sent" in verbs.ok("jobs", "retry", job)
    assert verbs.queue.retried_with[-1] is None
    verbs.queue.jobs[job].state = "FAILED"
    verbs.queue.refuses = "The secrets of this job are not kept any more."
    assert f"musabi jobs retry {job} --request FILE" in verbs.refused("jobs", "retry", job)
    assert "go with --request" in verbs.refused("jobs", "retry", job, "--images", signed)


def test_addresses_that_were_not_in_the_file_are_not_taken_from_it(
    verbs: JobVerbs, request_file: Path
) -> None:
    asked = json.loads(request_file.read_text())
    asked["input"]["dataset"]["images_url"] = "https://example.com/old.zip?signature=OLD"
    request_file.write_text(json.dumps(asked))
    new = "https://example.com/new.zip?signature=NEW"
    words = ("submit", str(request_file), "--endpoint", verbs.queue.url, "--images", new)
    job = verbs.json(*words)[0]["id"]
    for more, addresses in (
        ((), {}),
        (("--request", str(request_file), "--images", new), {"images_url": new}),
    ):
        verbs.queue.jobs[job].state = "FAILED"
        verbs.ok("jobs", "retry", job, *more)
        assert verbs.queue.retried_with[-1]["input"].get("dataset", {}) == addresses


def test_runpod_keeps_the_secrets_itself_and_takes_no_others(
    verbs: JobVerbs, request_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = verbs.json("submit", str(request_file), "--endpoint", verbs.queue.url)[0]["id"]
    monkeypatch.setattr("musabi.serverless.client.endpoint.RUNPOD", verbs.queue.root)
    monkeypatch.setenv("RUNPOD_API_KEY", KEY)
    verbs.queue.jobs[job].state = "FAILED"
    refused = verbs.refused("jobs", "retry", job, "--request", str(request_file))
    assert "/retry takes nothing else" in refused and not verbs.queue.retried_with
    verbs.ok("jobs", "retry", job)
    assert verbs.queue.retried_with == [None]
