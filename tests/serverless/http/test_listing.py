"""GET /jobs: which jobs are listed in which order, and what is said of each."""

from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from musabi.serverless.http.limits import BadRequest
from musabi.serverless.http.listing import Asked, listed_answer, read_asked
from musabi.serverless.queue.rows import Job, Listed
from musabi.serverless.queue.states import State
from peers.endpoint_house import TOKEN, House, house, request


def listed(home: House, query: str = "", **headers: str) -> httpx.Response:
    async def talk() -> httpx.Response:
        async with home.client(**headers) as asked:
            return await asked.get(f"/jobs{query}")

    return anyio.run(talk)


def a_job(given: object, **more: Any) -> Listed:
    values: dict[str, Any] = {
        "id": "a", "state": State.IN_QUEUE, "held": (), "created": 100.0, "first_started": None, "started": None,
        "worked": 0.0, "ended": None, "execution_s": None, "retries": 0, "restarts": 0, "slot": None,
        "output_json": None, "hook": None, "hook_tries": 0,
    }  # fmt: skip
    return Listed(1, Job(**values | more), given)


def test_jobs_are_listed_newest_first_page_by_page(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        sent = [home.submit() for _ in range(5)]
        first = listed(home, "?limit=2").json()
        second = listed(home, f"?limit=2&before={first['next']}").json()
        last = listed(home, f"?limit=2&before={second['next']}").json()
        assert [job["id"] for page in (first, second, last) for job in page["jobs"]] == sent[::-1]
        assert set(last) == {"jobs"}, "there is nothing after it"


def test_a_job_says_its_model_its_destination_its_progress_and_its_times(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit("steps=999 each=0.02")
        home.until(lambda: home.dispatcher.progress_of(job_id))
        (job,) = listed(home).json()["jobs"]
        assert job["status"] == "IN_PROGRESS" and job["model"] == "qwen"
        assert (job["method"], job["destination"]) == ("huggingface", "user/qwen-lora")
        assert job["progress"]["message"] and job["seconds"] >= 0
        assert job["created"] <= job["started"] and "ended" not in job


def test_a_job_that_ended_says_its_result_or_its_error_and_no_log(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        done, failed = home.submit("steps=2"), home.submit("fail")
        home.until_ended(done, failed)
        of = {job["id"]: job for job in listed(home).json()["jobs"]}
        assert of[done]["status"] == "COMPLETED" and of[failed]["status"] == "FAILED"
        assert of[failed]["error"] == home.service.status(failed)["error"]
        assert "progress" not in of[done] and of[done]["ended"] >= of[done]["started"]


def test_only_jobs_in_a_state_are_listed_where_one_is_named(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        waiting, cancelled = home.submit(), home.submit()
        home.service.cancel(cancelled)
        assert [job["id"] for job in listed(home, "?status=IN_QUEUE").json()["jobs"]] == [waiting]
        assert [job["id"] for job in listed(home, "?status=CANCELLED").json()["jobs"]] == [cancelled]
        assert listed(home, "?status=IN_PROGRESS").json() == {"jobs": []}


def test_no_secret_is_in_the_list_and_without_the_key_there_is_none(tmp_path: Path) -> None:
    with house(tmp_path, key="the-key") as home:
        home.submit()
        assert listed(home).status_code == 401
        answer = listed(home, authorization="Bearer the-key")
        assert answer.status_code == 200 and len(answer.json()["jobs"]) == 1
        assert TOKEN not in answer.text


@pytest.mark.parametrize("given", [None, [], "text", {"model_type": ["qwen"], "output": {"s3": 3}}])
def test_a_request_of_any_kind_is_listed(tmp_path: Path, given: Any) -> None:
    with house(tmp_path) as home:
        home.service.submit({"input": given})
        (job,) = listed(home).json()["jobs"]
        assert job["status"] == "FAILED" and job["error"] and "model" not in job


def test_a_bucket_is_named_with_its_folder_whether_the_method_says_s3_or_auto() -> None:
    s3 = {"bucket": "lab", "key_prefix": "/loras/"}
    for method in ({"method": "s3"}, {}, {"method": "auto"}):
        shown = listed_answer(a_job({"output": {**method, "s3": s3}}), None, 0.0)
        assert (shown["method"], shown["destination"]) == ("s3", "lab/loras")
    assert listed_answer(a_job({"output": {"method": "volume", "s3": s3}}), None, 0.0)["method"] == "volume"
    assert "destination" not in listed_answer(a_job({"output": {"method": "volume", "s3": s3}}), None, 0.0)
    assert "method" not in listed_answer(a_job(None), None, 0.0)


def test_a_very_large_input_is_not_read_for_the_list(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        home.service.submit({"input": request("x" * 150)})
        home.store._run("UPDATE jobs SET input = json_set(input, '$$.more', printf('%.*c', 200000, 'x'))")
        (job,) = listed(home).json()["jobs"]
        assert "model" not in job


def test_what_is_asked_for_has_bounds() -> None:
    assert read_asked({}) == Asked() and read_asked({"limit": "7", "before": "9"}) == Asked(7, 9)
    assert read_asked({"status": "FAILED"}).state is State.FAILED
    for wrong in ({"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"limit": "²"}, {"before": "-1"},
                  {"before": "9" * 400}, {"before": ""}, {"status": "failed"}, {"status": ""}):  # fmt: skip
        with pytest.raises(BadRequest):
            read_asked(wrong)
