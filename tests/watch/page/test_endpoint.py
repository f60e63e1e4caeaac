"""The view of the endpoint over a real `musabi serve` on a port of this machine, and over what is none."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from musabi.errors import RequestError
from musabi.serverless.http.app import make_app as make_server
from musabi.serverless.queue.states import State
from musabi.watch.page.endpoint import ENDPOINT, address
from musabi.watch.page.endpoint_asking import Asking, Question
from musabi.watch.page.scene import Scene
from musabi.watch.serving import NAME, leave_note, serving, take_note_back, url_of
from peers.endpoint_house import House, house, request
from small.page import Browser, make_scene

SERVER_KEY = "a-key-of-the-endpoint"
App = Callable[[Any, Any, Any], Any]


@contextmanager
def listening(app: Any, port: int = 0) -> Iterator[int]:
    """Yield the port on which an application answers."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=0)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        server.should_exit = server.force_exit = True
        thread.join(timeout=5)


def scene_at(folder: Path, port: int, key: str = SERVER_KEY) -> Scene:
    return make_scene(folder, ENDPOINT_PORT=str(port), MUSABI_API_KEY=key)


def parts(scene: Scene, **query: str) -> dict[str, str]:
    return {name: part(scene, query) for name, part in ENDPOINT.parts.items()}


def look_again(scene: Scene, **query: str) -> dict[str, str]:
    """Return the parts of a look that asks the server anew."""
    asking = scene.memory["endpoint"]
    for question, (_, seen) in list(asking._seen.items()):
        asking._seen[question] = (float("-inf"), seen)
    return parts(scene, **query)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def answering(status: int, body: bytes, wait_s: float = 0.0) -> App:
    """Return an application that answers everything so."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        time.sleep(wait_s)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return app


@pytest.fixture
def home(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "server").mkdir()
    with house(tmp_path / "server", key=SERVER_KEY) as made:
        yield made


def test_jobs_are_shown_as_they_stand_with_counts_and_what_can_be_done(home: House, tmp_path: Path) -> None:
    failed, running, waiting = home.submit("fail"), home.submit("steps=999 each=0.02"), home.submit()
    home.until(lambda: home.dispatcher.progress_of(running))
    with listening(home.app) as port:
        shown = parts(scene_at(tmp_path, port))
    assert "answers" in shown["state"] and "<dt>waiting</dt><dd>1</dd>" in shown["state"]
    assert running[:8] in shown["running"] and "<progress" in shown["running"]
    assert f'value="{running}"' in shown["running"] and 'data-verb="endpoint-cancel"' in shown["running"]
    assert running[:8] not in shown["jobs"], "it stands among the running ones"
    assert "The stand-in was told to fail." in shown["jobs"]
    assert shown["jobs"].index(waiting[:8]) < shown["jobs"].index(failed[:8]), "newest first"
    assert "Hugging Face, user/qwen-lora" in shown["jobs"]


def test_results_are_linked_and_a_hostile_request_is_text(home: House, tmp_path: Path) -> None:
    job = home.submit()
    link = "https://huggingface.co/user/x/resolve/main/a.safetensors?download=true&x=<"
    home.store.finish(job, State.FAILED, {})
    home.store._run(
        "UPDATE jobs SET state = 'COMPLETED', output_json = :o",
        o=json.dumps({"output": {"download_url": link}}),
    )
    home.service.submit({"input": {"model_type": "<script>alert(1)</script>", "output": {"method": '"><b>'}}})
    with listening(home.app) as port:
        shown = parts(scene_at(tmp_path, port))["jobs"]
    assert 'href="https://huggingface.co/user/x/resolve/main/a.safetensors?download=true&amp;x=&lt;"' in shown
    assert 'rel="noopener noreferrer"' in shown
    assert "&lt;script&gt;" in shown and "<script" not in shown and "<b>" not in shown


def test_older_jobs_are_a_page_away(home: House, tmp_path: Path) -> None:
    sent = [home.submit() for _ in range(27)]
    with listening(home.app) as port:
        scene = scene_at(tmp_path, port)
        first = parts(scene)["jobs"]
        (before,) = (text.partition('"')[0] for text in first.split("endpoint?before=")[1:])
        older = parts(scene, before=before)["jobs"]
    assert sent[-1][:8] in first and sent[0][:8] not in first
    assert sent[0][:8] in older and sent[-1][:8] not in older and "Newest jobs" in older
    assert parts(scene, before="x'; DROP")["jobs"].startswith("<h2>Waiting and ended")


def test_where_nothing_listens_it_says_how_to_start_one(tmp_path: Path) -> None:
    shown = parts(scene_at(tmp_path, free_port()))
    assert "does not run here" in shown["state"] and "<pre>musabi serve</pre>" in shown["state"]
    assert shown["running"] == shown["jobs"] == ""


@pytest.mark.parametrize(
    ("key", "said"), [("wrong", "does not take the key"), ("", "wants a key"), ("schlüssel", "wants a key")]
)
def test_a_key_that_is_wrong_or_missing_is_said_and_never_shown(
    home: House, tmp_path: Path, key: str, said: str
) -> None:
    home.submit()
    with listening(home.app) as port:
        shown = parts(scene_at(tmp_path, port, key))
    assert said in shown["state"] and shown["jobs"] == ""
    assert SERVER_KEY not in shown["state"]


def test_without_a_key_a_server_that_has_none_is_shown(home: House, tmp_path: Path) -> None:
    home.submit()
    with listening(make_server(home.service, None)) as port:
        assert "waiting" in parts(scene_at(tmp_path, port, ""))["jobs"]


def test_the_key_goes_to_musabi_serve_alone(tmp_path: Path) -> None:
    heard: list[dict[bytes, bytes]] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        heard.append(dict(scope["headers"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"info": {"title": "another"}, "paths": {}}'})

    with listening(app) as port:
        shown = parts(scene_at(tmp_path, port))
    assert "not musabi serve" in shown["state"]
    assert heard and not any(b"authorization" in headers for headers in heard)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>hello", "not musabi serve"), (b"[" * 100_000, "not musabi serve"), (b"\xff\xfe", "not musabi serve"),
        (b'{"info": {"title": "musabi endpoint"}, "paths": {"/run": {}}}', "older than this page"),
        (b"x" * 9_000_000, "not musabi serve"),
    ],
)  # fmt: skip
def test_what_is_no_such_server_is_said(tmp_path: Path, body: bytes, said: str) -> None:
    with listening(answering(200, body)) as port:
        shown = parts(scene_at(tmp_path, port))
    assert said in shown["state"] and shown["jobs"] == ""


def test_a_server_that_hangs_holds_up_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musabi.watch.page.endpoint_asking.ANSWER_SECONDS", 0.6)
    monkeypatch.setattr("musabi.watch.page.endpoint_asking.FIRST_PATIENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=8) as silent:
        scene = scene_at(tmp_path, silent.getsockname()[1])
        began = time.monotonic()
        shown = parts(scene)
        assert time.monotonic() - began < 0.5, "the three parts together wait once"
        assert "is asked how its jobs stand" in shown["state"]
        time.sleep(0.8)
        assert "does not answer in time" in look_again(scene)["state"]


def test_a_restart_of_the_server_is_no_trouble_and_what_was_seen_stays(home: House, tmp_path: Path) -> None:
    job = home.submit()
    with listening(home.app) as port:
        scene = scene_at(tmp_path, port)
        assert job[:8] in parts(scene)["jobs"]
    assert "does not run here" in look_again(scene)["state"]
    with listening(answering(503, b'{"error": "The queue can\'t be read."}'), port):
        assert "says: The queue can&#39;t be read." in look_again(scene)["state"]
    with listening(home.app, port):
        time.sleep(0.05)
        shown = look_again(scene)
        assert job[:8] in shown["jobs"] and "answers" in shown["state"]
        scene.memory["endpoint"]._known.clear()
        home.app._app = answering(503, b'{"error": "The disk is full."}')
        shown = look_again(scene)
        assert "says: The disk is full." in shown["state"]
        assert job[:8] in shown["jobs"] and "This is how it stood on" in shown["state"]


def test_the_server_is_asked_once_for_all_pages_that_look(home: House, tmp_path: Path) -> None:
    asked: list[str] = []

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await home.app(scope, receive, send)

    with listening(counted) as port:
        scene = scene_at(tmp_path, port)
        for _ in range(5):
            parts(scene)
    assert asked == ["/openapi.json", "/health", "/jobs", "/jobs"]


def test_memory_keeps_few_questions(tmp_path: Path) -> None:
    asking, port = Asking(None), free_port()
    for number in range(1, 40):
        asking.look(Question(f"http://127.0.0.1:{port}", number))
    assert len(asking._seen) <= 16


@pytest.mark.slow
def test_cancel_and_retry_are_verbs_that_end_and_renew_the_job(home: House, tmp_path: Path) -> None:
    job = home.submit()
    with listening(home.app) as port:
        browser = Browser(scene_at(tmp_path, port), (ENDPOINT,))
        cancelled = browser.change("/do", {"verb": "endpoint-cancel", "job": job})
        assert cancelled.json()["ok"], cancelled.json()
        assert home.service.job(job).state is State.CANCELLED
        assert browser.change("/do", {"verb": "endpoint-retry", "job": job}).json()["ok"]
        assert home.service.job(job).state is State.IN_QUEUE
        words = [task.words for task in browser.client.app._app.state.doing.tasks]  # type: ignore[attr-defined]
    assert words[-1] == ("jobs", "cancel", job, "--endpoint", f"http://127.0.0.1:{port}")
    assert SERVER_KEY not in str(words)


@pytest.mark.parametrize("job", [None, "", "-rf", "--all", "a b", "../x", "x" * 101, 3, ["a"]])
def test_what_is_no_id_starts_no_verb(tmp_path: Path, job: Any) -> None:
    browser = Browser(scene_at(tmp_path, free_port()), (ENDPOINT,))
    answer = browser.change("/do", {"verb": "endpoint-cancel", "job": job})
    assert answer.status_code == 422 and "no such job" in answer.json()["message"]


def test_the_address_is_the_one_that_the_server_noted_else_that_of_the_variables(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, ENDPOINT_HOST="0.0.0.0", ENDPOINT_PORT="9123")
    assert address(scene) == "http://127.0.0.1:9123"
    assert address(make_scene(tmp_path, ENDPOINT_HOST="::1")) == "http://[::1]:8000"
    leave_note(tmp_path / "state", "http://127.0.0.1:7001")
    assert address(scene) == "http://127.0.0.1:7001"
    take_note_back(tmp_path / "state")
    assert address(scene) == "http://127.0.0.1:9123"
    with pytest.raises(RequestError, match="ENDPOINT_PORT"):
        address(make_scene(tmp_path, ENDPOINT_PORT="many"))


NO_NOTES = (
    "",
    "[]",
    '{"url": "http://x"}',
    '{"url": "ftp://x", "pid": 1}',
    '{"url": "http://x", "pid": 4999999}',
    '{"url": "http://x", "pid": true}',
    '{"url": 3, "pid": 1}',
    '{"url": "http://x", "pid": 1e99}',
)


@pytest.mark.parametrize("note", NO_NOTES)
def test_a_note_of_a_server_that_is_gone_or_no_note_is_none(tmp_path: Path, note: str) -> None:
    (tmp_path / NAME).write_text(note)
    assert serving(tmp_path) is None
    take_note_back(tmp_path)
    assert (tmp_path / NAME).exists(), "another's note stays"


def test_a_server_that_listens_everywhere_is_reached_on_loopback() -> None:
    assert [url_of(host, 80) for host in ("0.0.0.0", "::", "10.0.0.2")] == [
        "http://127.0.0.1:80", "http://[::1]:80", "http://10.0.0.2:80",
    ]  # fmt: skip


def test_a_request_of_the_house_is_shown_with_its_trigger_nowhere(home: House, tmp_path: Path) -> None:
    home.service.submit({"input": request("steps=1")})
    with listening(home.app) as port:
        assert "steps=1" not in str(parts(scene_at(tmp_path, port)))
