"""The client of an endpoint against a stand-in for Runpod's queue: what is asked again, what is never sent twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from musabi.errors import MachineError, RequestError
from musabi.serverless.client.asking import gone, look, seen
from musabi.serverless.client.endpoint import Endpoint, GoneError, NotKnownError, asked_pause, endpoint
from musabi.serverless.client.remembered import MOST, KnownJob, Remembered
from peers.loopback_files import running_files
from peers.loopback_runpod_queue import ENDPOINT, KEY, LoopbackQueue, running_queue

BODY = {"input": {"model_type": "qwen"}, "policy": {"executionTimeout": 3_600_000}}


@pytest.fixture
def queue() -> Iterator[LoopbackQueue]:
    with running_queue() as one:
        yield one


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def there(queue: LoopbackQueue, waits: list[float]) -> Iterator[Endpoint]:
    with Endpoint(endpoint(queue.url), KEY, tries=4, wait=waits.append) as one:
        yield one


def test_a_job_is_submitted_looked_at_cancelled_and_retried(queue: LoopbackQueue, there: Endpoint) -> None:
    answer = there.run(BODY)
    job = queue.jobs[answer["id"]]
    assert answer["status"] == "IN_QUEUE" and job.input == BODY["input"] and job.policy == BODY["policy"]
    assert there.status(job.id)["status"] == "IN_QUEUE"
    assert there.cancel(job.id)["status"] == "CANCELLED"
    with pytest.raises(RequestError, match="not FAILED or TIMED_OUT"):
        there.retry(job.id)
    job.state = "FAILED"
    assert there.retry(job.id)["status"] == "IN_QUEUE"
    assert there.health()["jobs"]["inQueue"] == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_only_asks_is_asked_again_and_waits_longer_each_time(
    queue: LoopbackQueue, there: Endpoint, waits: list[float], status: int
) -> None:
    job = queue.submit({})
    queue.fail(status, times=3)
    assert there.status(job)["id"] == job
    assert waits == sorted(waits) and len(waits) == 3 and waits[0] < waits[2]
    queue.fail(status, times=4)
    with pytest.raises(MachineError, match=f"answers {status}, 4 times"):
        there.status(job)
    queue.cut("status")
    assert there.status(job)["id"] == job


def test_a_submission_is_sent_again_only_where_it_surely_was_not_taken(
    queue: LoopbackQueue, there: Endpoint
) -> None:
    queue.fail(429, times=2)
    there.run(BODY)
    assert len(queue.jobs) == 1 and queue.asked == ["run"] * 3
    for status in (500, 502, 503, 504):
        queue.fail(status)
        with pytest.raises(NotKnownError, match="not sent again"):
            there.run(BODY)
    assert len(queue.jobs) == 1
    queue.cut("run")
    with pytest.raises(NotKnownError, match="trained twice"):
        there.run(BODY)
    assert len(queue.jobs) == 2  # it did get through


def test_an_endpoint_that_is_not_there_is_named(waits: list[float]) -> None:
    with (
        Endpoint(endpoint("http://127.0.0.1:9"), KEY, tries=3, wait=waits.append) as there,
        pytest.raises(MachineError, match=r"127\.0\.0\.1:9 can't be reached, 3 times"),
    ):
        there.run(BODY)
    assert len(waits) == 2


def test_what_takes_long_is_said_after_the_second_try_and_once(
    queue: LoopbackQueue, waits: list[float]
) -> None:
    said: list[tuple[str, int]] = []

    def say(text: str) -> None:
        said.append((text, len(waits)))

    nowhere = endpoint("http://127.0.0.1:9")
    with Endpoint(nowhere, KEY, wait=waits.append, say=say) as there:
        for _ in range(2):
            with pytest.raises(MachineError):
                there.health()
    assert said == [("http://127.0.0.1:9 can't be reached. It is tried 4 times more.", 1)]
    queue.fail(503)
    with Endpoint(endpoint(queue.url), KEY, wait=waits.append, say=say) as there:
        there.health()
    assert len(said) == 1  # the second try went well


def test_a_missing_key_is_told_from_a_wrong_one(queue: LoopbackQueue) -> None:
    for key, words in ((None, "MUSABI_API_KEY is not set"), ("wrong", "does not take the key")):
        with Endpoint(endpoint(queue.url), key) as there, pytest.raises(RequestError, match=words):
            there.run({"input": {}})


def test_the_key_is_in_no_message(queue: LoopbackQueue, there: Endpoint) -> None:
    wrong = "rpa_WRONGMARKEDKEY"
    with Endpoint(endpoint(queue.url), wrong) as other, pytest.raises(RequestError) as refused:
        other.health()
    assert "MUSABI_API_KEY" in str(refused.value) and wrong not in str(refused.value) + repr(other)
    assert KEY not in repr(there) + str(vars(there))
    with pytest.raises(GoneError):
        there.status("unknown/../job")


def test_an_id_means_runpod_and_an_address_what_is_there() -> None:
    assert endpoint("abc123").url == "https://api.runpod.ai/v2/abc123"
    assert endpoint("abc123").variable == "RUNPOD_API_KEY"
    assert endpoint("https://api.runpod.ai/v2/abc123/") == endpoint("abc123")
    own = endpoint("http://127.0.0.1:8000/?key=marked")
    assert (own.url, own.variable) == ("http://127.0.0.1:8000", "MUSABI_API_KEY")
    for wrong in ("", "a b", "ftp://host", "https://user:marked@host/", "host:8000", "x;y"):
        with pytest.raises(RequestError, match="no endpoint") as refused:
            endpoint(wrong)
        assert "marked" not in str(refused.value)


def test_what_answers_otherwise_is_no_endpoint(queue: LoopbackQueue) -> None:
    with running_files() as files:
        files.add("/health", b"<html>")
        with (
            Endpoint(endpoint(files.url), KEY, tries=1) as there,
            pytest.raises(RequestError, match="no JSON"),
        ):
            there.health()
        files.redirect("/health", f"{queue.url}/health")
        with Endpoint(endpoint(files.url), KEY, tries=1) as there, pytest.raises(RequestError, match="302"):
            there.health()
        assert queue.asked == [] and queue.strangers == 0  # neither the key nor the request went elsewhere


@pytest.mark.parametrize(
    ("header", "pause"),
    [("7", 7.0), ("900", 20.0), ("", 1.5), ("soon", 1.5), ("Mon, 01 Jan 2001 00:00:00 GMT", 0.0)],
)
def test_a_busy_endpoint_says_how_long_to_wait(header: str, pause: float) -> None:
    assert asked_pause(header, 1.5) == pause


def test_jobs_are_looked_at_together_and_what_ended_is_not_asked_for(
    queue: LoopbackQueue, there: Endpoint
) -> None:
    ids = [queue.submit({}) for _ in range(20)]
    jobs = [KnownJob(one, ENDPOINT, one) for one in ids]
    jobs[3] = KnownJob(ids[3], ENDPOINT, "done", state="COMPLETED")
    jobs.append(KnownJob("forgotten", ENDPOINT, "old", submitted=1.0))
    jobs.append(KnownJob("new", ENDPOINT, "new"))
    queue.jobs[ids[0]].state, queue.jobs[ids[0]].error = "FAILED", "No images.\nAt all."
    now, trouble = look(jobs, lambda job: there.status(job.id))
    assert trouble == () and queue.asked == ["status"] * 21
    assert now[0].state == "FAILED" and now[0].error == "No images. At all."
    assert now[3] == jobs[3] and now[20].state == "GONE" and "30 minutes" in str(now[20].error)
    assert now[21].state == "IN_QUEUE"  # so young that it may yet be found
    queue.fail(500, times=1000)
    again, trouble = look(now, lambda job: there.status(job.id))
    assert again == now and len(trouble) == 1


@pytest.mark.parametrize(
    ("answer", "state", "error"),
    [
        ({"status": "RUNNING", "output": {"message": "x"}}, "IN_PROGRESS", None),
        ({"status": "COMPLETED", "output": {"status": "success"}, "executionTime": 2500}, "COMPLETED", None),
        ({"status": "FAILED", "error": "a\x1b[2Jb", "output": {"status": "failed"}}, "FAILED", "a [2Jb"),
        ({"status": "FAILED", "output": {"error": "inside"}}, "FAILED", "inside"),
        ({"output": [1]}, "IN_QUEUE", None),
    ],
)
def test_an_answer_becomes_what_is_known_of_a_job(
    answer: dict[str, Any], state: str, error: str | None
) -> None:
    job = seen(KnownJob("one", ENDPOINT, "one"), answer)
    assert (job.state, job.error) == (state, error)
    assert job.seconds == (2.5 if "executionTime" in answer else None)
    assert gone(job) == job


def test_jobs_are_remembered_across_processes_and_the_oldest_are_forgotten(tmp_path: Path) -> None:
    known = Remembered(tmp_path / "state")
    assert known.jobs() == []
    known.put([KnownJob(str(number), ENDPOINT, "x") for number in range(MOST + 5)])
    Remembered(tmp_path / "state").put(
        [KnownJob("7", ENDPOINT, "x", state="FAILED"), KnownJob("7", "b", "y")]
    )
    jobs = known.jobs()
    assert len(jobs) == MOST and jobs[-1].endpoint == "b"
    assert [job.state for job in jobs if job.id == "7" and job.endpoint == ENDPOINT] == ["FAILED"]
    assert known.file.stat().st_mode & 0o777 == 0o600
    known.file.write_text('[{"id": "a", "endpoint": "b", "name": "c", "later": 1}, {"id": "x"}, 5]')
    assert [job.id for job in known.jobs()] == ["a"]
    known.file.write_text("[{")
    assert known.jobs() == []
