"""The HTTP interface as clients of a Runpod endpoint know it: paths, shapes, keys, limits."""

import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from musabi.errors import RequestError
from musabi.serverless.http.app import UNEXPECTED
from musabi.serverless.http.auth import (
    is_loopback,
    matches,
    refusal,
    require_loopback_or_key,
    require_plain_key,
)
from peers.endpoint_house import TOKEN, House, house, request

EXAMPLES = {
    "model_type": "Missing required field: model_type",
    "dataset": "Missing required field: dataset",
}


def ask(home: House, what: Callable[[httpx.AsyncClient], Awaitable[Any]], **client: Any) -> Any:
    """Run one conversation with the application."""

    async def talk() -> Any:
        async with home.client(**client) as asked:
            return await what(asked)

    return anyio.run(talk)


def post(home: House, path: str, **how: Any) -> httpx.Response:
    answer = ask(home, lambda asked: asked.post(path, **how))
    assert isinstance(answer, httpx.Response)
    return answer


def get(home: House, path: str, **how: Any) -> httpx.Response:
    answer = ask(home, lambda asked: asked.get(path, **how))
    assert isinstance(answer, httpx.Response)
    return answer


def test_a_request_is_answered_with_an_id_that_waits(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        answer = post(home, "/run", json={"input": request()})
        assert answer.status_code == 200 and set(answer.json()) == {"id", "status"}
        assert answer.json()["status"] == "IN_QUEUE"
        status = get(home, f"/status/{answer.json()['id']}").json()
        assert status == {"id": answer.json()["id"], "status": "IN_QUEUE"}


def test_the_base_path_of_runpod_works_too(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = post(home, "/v2/abcdef/run", json={"input": request()}).json()["id"]
        assert get(home, f"/v2/abcdef/status/{job_id}").json()["status"] == "IN_QUEUE"
        assert get(home, "/v2/abcdef/health").json()["jobs"]["inQueue"] == 1


@pytest.mark.parametrize("left_out", EXAMPLES)
def test_a_wrong_request_is_a_job_that_failed_with_the_originals_words(tmp_path: Path, left_out: str) -> None:
    with house(tmp_path) as home:
        given = {name: value for name, value in request().items() if name != left_out}
        submitted = post(home, "/run", json={"input": given}).json()
        assert submitted["status"] == "FAILED"
        status = get(home, f"/status/{submitted['id']}").json()
        assert status["error"] == EXAMPLES[left_out]
        assert status["output"]["status"] == "failed" and status["output"]["errors"]
        assert home.secret_files() == [] and not home.options.places.jobs.exists()


@pytest.mark.parametrize("given", [None, [], "text", 3, {}, {"model_type": ["qwen"]}])
def test_an_input_of_any_kind_gets_an_answer(tmp_path: Path, given: Any) -> None:
    with house(tmp_path) as home:
        assert post(home, "/run", json={"input": given}).json()["status"] == "FAILED"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "no valid JSON"),
        (b"", 'no "input"'),
        (b"[]", "JSON object"),
        (b"{}", 'no "input"'),
        (b'{"input": NaN}', "NaN is no JSON number"),
        (b'{"input": 1e999}', "no valid JSON"),
        (b'{"input": "\\ud800"}', "Unicode"),
        (b'{"input": "\xff"}', "no valid JSON"),
        (b'{"input": ' + b"[" * 200_000, "nested too deeply"),
        (b'{"input": ' + b"[" * 50 + b"]" * 50 + b"}", "nested too deeply"),
        (b'{"input": ' + b"9" * 5000 + b"}", "no valid JSON"),
        (b'{"input": {}, "policy": []}', '"policy" must be an object'),
        (b'{"input": {}, "policy": {"executionTimeout": 4999}}', "from 5000"),
        (b'{"input": {}, "policy": {"executionTimeout": 604800001}}', "7 days"),
        (b'{"input": {}, "policy": {"executionTimeout": true}}', "milliseconds"),
        (b'{"input": {}, "policy": {"ttl": "1000"}}', "from 10000"),
        (b'{"input": {}, "policy": {"lowPriority": 1}}', "true or false"),
        (b'{"input": {}, "webhook": "http://example.com/"}', "https://"),
        (b'{"input": {}, "webhook": "https://"}', "https://"),
        (b'{"input": {}, "webhook": "https://[::1/"}', "https://"),
        (b'{"input": {}, "webhook": "https://example.com/\\r\\nX: y"}', "https://"),
        (b'{"input": {}, "webhook": ["https://example.com/"]}', "https://"),
    ],
)
def test_a_broken_request_is_refused_in_words(tmp_path: Path, body: bytes, said: str) -> None:
    with house(tmp_path) as home:
        answer = post(home, "/run", content=body)
        assert answer.status_code == 400
        assert set(answer.json()) == {"error"} and said in answer.json()["error"]
        assert sum(home.store.counts().values()) == 0


@pytest.mark.parametrize(("path", "most"), [("/run", 10**7), ("/runsync?wait=1000", 2 * 10**7)])
def test_a_request_may_be_so_large_whatever_it_says_of_its_length(
    tmp_path: Path, path: str, most: int
) -> None:
    async def chunks(size: int) -> AsyncIterator[bytes]:
        yield b'{"input": "'
        for _ in range(size // 500_000):
            yield b"x" * 500_000

    with house(tmp_path) as home:
        answer = post(home, path, content=chunks(most + 500_000), headers={"content-length": "10"})
        assert answer.status_code == 413 and "larger than" in answer.json()["error"]
        assert post(home, path, content=chunks(most - 500_000)).status_code == 400


def test_too_many_waiting_jobs_are_answered_429(tmp_path: Path) -> None:
    with house(tmp_path, ENDPOINT_MOST_WAITING="2") as home:
        for _ in range(2):
            assert post(home, "/run", json={"input": request()}).status_code == 200
        answer = post(home, "/run", json={"input": request()})
        assert answer.status_code == 429 and int(answer.headers["retry-after"]) > 0
        assert len(home.secret_files()) == 2, "the secrets of a job that was not taken are not kept"


def test_runsync_waits_for_the_answer(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        home.dispatcher.start()
        answer = post(home, "/runsync?wait=10000", json={"input": request("steps=2")}).json()
        assert answer["status"] == "COMPLETED" and answer["output"]["status"] == "success"
        assert answer["id"].startswith("sync-")


def test_runsync_gives_up_waiting_and_the_job_goes_on(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        begun = time.monotonic()
        answer = post(home, "/runsync?wait=1000", json={"input": request()}).json()
        assert answer["status"] == "IN_QUEUE" and 0.9 < time.monotonic() - begun < 5


@pytest.mark.parametrize("wait", ["999", "300001", "soon", ""])
def test_runsync_waits_as_long_as_runpod_does(tmp_path: Path, wait: str) -> None:
    with house(tmp_path) as home:
        answer = post(home, f"/runsync?wait={wait}", json={"input": request()})
        assert answer.status_code == 400 and "wait" in answer.json()["error"]


def test_a_waiting_job_is_cancelled_and_an_ended_one_stays_as_it_is(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit()
        assert post(home, f"/cancel/{job_id}").json() == {"id": job_id, "status": "CANCELLED"}
        assert post(home, f"/cancel/{job_id}").json()["status"] == "CANCELLED"
        done = home.submit("steps=1")
        home.until_ended(done)
        assert post(home, f"/cancel/{done}").json() == {"id": done, "status": "COMPLETED"}
        refused = post(home, f"/retry/{done}")
        assert refused.status_code == 400 and "COMPLETED" in refused.json()["error"]


def test_the_queue_is_purged(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        ids = [home.submit() for _ in range(3)]
        assert post(home, "/purge-queue").json() == {"removed": 3, "status": "completed"}
        assert get(home, f"/status/{ids[0]}").json()["status"] == "CANCELLED"


def test_a_retry_brings_secrets_and_nothing_else(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        job_id = home.submit()
        post(home, f"/cancel/{job_id}")
        for path in home.secret_files():
            path.unlink()
        lacking = post(home, f"/retry/{job_id}")
        assert lacking.status_code == 400 and "token" in lacking.json()["error"]
        other = post(home, f"/retry/{job_id}", json={"input": {"training": {"epochs": 1}}})
        assert other.status_code == 400 and "nothing else" in other.json()["error"]
        brought = {"input": {"output": {"huggingface": {"token": TOKEN}}}}
        assert post(home, f"/retry/{job_id}", json=brought).json() == {"id": job_id, "status": "IN_QUEUE"}
        assert home.vault(job_id) == {"output.huggingface.token": TOKEN}


@pytest.mark.parametrize(
    "path", ["/status/x", "/stream/x", "/status/%00", "/status/..%2f..", "/nothing", "/v2/a", "/v2/a/"]
)
def test_what_is_not_there_is_said_in_words(tmp_path: Path, path: str) -> None:
    with house(tmp_path) as home:
        answer = get(home, path)
        assert answer.status_code in (200, 404)
        if answer.status_code == 404:
            assert set(answer.json()) == {"error"}


def test_s3_config_is_where_the_lora_goes_if_the_input_says_nothing_else(tmp_path: Path) -> None:
    config = {
        "accessId": "AKIDEXAMPLE",
        "accessSecret": "verysecret0123",
        "bucketName": "bucket",
        "endpointUrl": "https://s3.example.com",
    }
    with house(tmp_path) as home:
        given = request() | {"output": {"method": "s3"}}
        job_id = post(home, "/run", json={"input": given, "s3Config": config}).json()["id"]
        stored = home.store.input_of(job_id)["output"]["s3"]
        assert stored["bucket"] == "bucket" and stored["endpoint_url"] == "https://s3.example.com"
        assert "verysecret0123" not in json.dumps(home.store.input_of(job_id))
        assert home.vault(job_id) == {
            "output.s3.access_key": "AKIDEXAMPLE",
            "output.s3.secret_key": "verysecret0123",
        }
        own = post(home, "/run", json={"input": request(), "s3Config": config}).json()["id"]
        assert "s3" not in home.store.input_of(own)["output"]


@pytest.mark.parametrize("sent", ["Bearer the-key", "bearer the-key", "the-key", "Bearer   the-key "])
def test_the_key_opens_with_bearer_and_bare(tmp_path: Path, sent: str) -> None:
    with house(tmp_path, key="the-key") as home:
        assert ask(home, lambda asked: asked.get("/health"), authorization=sent).status_code == 200


@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer ", "Bearer the-ke", "Bearer the-key2", "the-key x", "Basic the-key"]
)
def test_without_the_key_nothing_is_told_or_done(tmp_path: Path, sent: str) -> None:
    with house(tmp_path, key="the-key") as home:
        job_id = home.submit()
        for method, path in (
            ("GET", f"/status/{job_id}"),
            ("POST", "/run"),
            ("POST", f"/cancel/{job_id}"),
            ("GET", "/v2/x/health"),
            ("GET", "/unknown"),
        ):
            answer = ask(home, lambda asked, m=method, p=path: asked.request(m, p), authorization=sent)
            assert answer.status_code == 401 and set(answer.json()) == {"error"}
        assert home.service.status(job_id)["status"] == "IN_QUEUE"


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json"])
def test_pages_are_open_and_bring_everything_along(tmp_path: Path, path: str) -> None:
    with house(tmp_path, key="the-key") as home:
        answer = get(home, path)
        assert answer.status_code == 200
        assert not any(word in answer.text for word in ("<script", "src=", "<link", "@import", "url("))
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    "host", ["evil.example.com", "evil.example.com:8000", "192.168.1.5", "", "127.0.0.1.evil.com"]
)
def test_without_a_key_a_name_that_was_rebound_is_not_answered(tmp_path: Path, host: str) -> None:
    with house(tmp_path) as home:
        assert get(home, "/health", headers={"host": host}).status_code == 401


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.com",
        "null",
        "http://localhost.evil.com:8000",
        "http://127.0.0.1:8888",
        "http://127.0.0.1",
        "http://localhost:8000",
        "127.0.0.1:8000",
    ],
)
def test_without_a_key_a_page_of_another_site_can_start_nothing(tmp_path: Path, origin: str) -> None:
    with house(tmp_path) as home:
        headers = {"origin": origin, "content-type": "text/plain"}
        answer = post(home, "/run", content=json.dumps({"input": request()}), headers=headers)
        assert answer.status_code == 401 and sum(home.store.counts().values()) == 0


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:99", "[::1]:8000", "127.9.9.9", "LOCALHOST"])
def test_without_a_key_this_machine_is_answered(tmp_path: Path, host: str) -> None:
    assert refusal({"host": host}, "/health", None) is None
    assert refusal({"host": host, "origin": f"http://{host}"}, "/health", None) is None


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.0.1", "pod.example.com", "", "127.0.0.1.evil.com"]
)
def test_listening_for_others_needs_a_key(host: str) -> None:
    with pytest.raises(RequestError, match="MUSABI_API_KEY"):
        require_loopback_or_key(host, None)
    require_loopback_or_key(host, "key")
    assert not is_loopback(host)


def test_a_key_of_any_characters_is_compared(tmp_path: Path) -> None:
    assert (
        matches("Bearer k\xe9y", "k\xe9y")
        and not matches("Bearer \udcff", "key")
        and not matches("x" * 10**6, "key")
    )


@pytest.mark.parametrize("key", ["k\xe9y" * 9, "\u0436" * 20, "key\nkey", " key", "key\x7f"])
def test_a_key_that_no_header_can_bring_is_refused_at_the_start(key: str) -> None:
    with pytest.raises(RequestError, match="MUSABI_API_KEY") as refused:
        require_plain_key(key)
    assert key not in str(refused.value)
    require_plain_key("a key, with-signs_09")
    require_plain_key(None)


def test_what_goes_wrong_inside_is_said_without_a_traceback(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        home.store.counts = dict  # type: ignore[method-assign,assignment]
        answer = get(home, "/health")
        assert answer.status_code == 500 and answer.json() == {"error": UNEXPECTED}


def test_a_queue_that_cannot_be_written_is_said_in_words(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        home.store._run("PRAGMA query_only=ON")
        answer = post(home, "/run", json={"input": request()})
        assert answer.status_code == 503 and "Make room" in answer.json()["error"]
        assert home.secret_files() == []


def test_fifty_clients_at_once_are_all_answered(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        threads = [threading.Thread(target=home.submit) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert get(home, "/health").json()["jobs"]["inQueue"] == 50
