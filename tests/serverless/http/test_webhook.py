"""Webhooks: a POST of the status, two retries, through the guard, and none forgotten."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from musabi.serverless.http.limits import BadRequest
from musabi.serverless.http.service import status_answer
from musabi.serverless.http.webhook import Webhooks
from musabi.serverless.queue.rows import NewJob
from peers.endpoint_house import TOKEN, House, house
from peers.recording_network import RecordingNetwork

HOOK = "https://hooks.example/jobs/done"
PUBLIC = "93.184.216.34"


class Receiver:
    """A server that takes webhooks; `answers` are the status codes it gives, the last one for good."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any]] = []
        self.answers = [200]
        self.sends_until = 0.0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.path, json.loads(body)))
                code = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "https://internal.example/")
                if not receiver.sends_until:
                    self.send_header("Content-Length", "0")
                self.end_headers()
                with contextlib.suppress(OSError):
                    while time.monotonic() < receiver.sends_until:
                        self.wfile.write(bytes(1024))
                        time.sleep(0.02)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def network(receiver: Receiver) -> RecordingNetwork:
    made = RecordingNetwork({"internal.example": [["10.0.0.5"]]})
    made.host("hooks.example", PUBLIC, receiver.url)
    return made


def hooks(home: House, network: RecordingNetwork, call_s: float = 20.0) -> Webhooks:
    """Return the webhooks of a house with the network of the test."""
    return Webhooks(
        home.store,
        home.service.vault,
        lambda job: status_answer(job, None, home.store.now()),
        home.said.append,
        network.as_network(),
        call_s=call_s,
    )


def call_due(home: House, network: RecordingNetwork) -> None:
    """Call what is due, and wait until all of it is over."""
    called = hooks(home, network)
    called.call_due()
    called.stop()


def ended(home: House, orders: str = "steps=1", hook: str = HOOK) -> str:
    job_id = home.submit(orders, webhook=hook)
    home.until_ended(job_id)
    return job_id


def later(home: House, seconds: float) -> None:
    home.store.now = lambda: time.time() + seconds


def test_the_status_is_sent_once_a_job_has_ended(
    tmp_path: Path, receiver: Receiver, network: RecordingNetwork
) -> None:
    with house(tmp_path) as home:
        job_id = home.submit("steps=2", webhook=HOOK)
        call_due(home, network)
        assert receiver.got == []
        home.until_ended(job_id)
        for _ in range(3):
            call_due(home, network)
        assert receiver.got == [("/jobs/done", home.service.status(job_id))]


@pytest.mark.parametrize(
    ("answers", "calls"), [([200], 1), ([500, 200], 2), ([201, 404, 200], 3), ([500], 3), ([302], 3)]
)
def test_what_is_not_answered_200_is_called_twice_more(
    tmp_path: Path, receiver: Receiver, network: RecordingNetwork, answers: list[int], calls: int
) -> None:
    with house(tmp_path) as home:
        receiver.answers = answers
        ended(home)
        for number in range(5):
            later(home, 10.5 * number)
            call_due(home, network)
            call_due(home, network)
        assert len(receiver.got) == calls
        assert "internal.example" not in network.looked_up, "a redirect is not followed"


def test_between_two_calls_ten_seconds_pass(
    tmp_path: Path, receiver: Receiver, network: RecordingNetwork
) -> None:
    with house(tmp_path) as home:
        receiver.answers = [500]
        ended(home)
        call_due(home, network)
        later(home, 9.0)
        call_due(home, network)
        assert len(receiver.got) == 1
        later(home, 11.0)
        call_due(home, network)
        assert len(receiver.got) == 2


@pytest.mark.parametrize(
    "hook",
    [
        "https://internal.example/",
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]:8443/",
        "https://0x7f000001/",
    ],
)
def test_an_address_of_a_private_network_is_never_called(
    tmp_path: Path, network: RecordingNetwork, hook: str
) -> None:
    with house(tmp_path) as home:
        ended(home, hook=hook)
        for number in range(3):
            later(home, 11.0 * number)
            call_due(home, network)
        assert network.connects == []
        assert len(home.said) == 1, "what is refused is refused for good, and said once"


def test_the_key_in_a_webhooks_query_is_in_no_log_and_not_on_the_volume(
    tmp_path: Path, receiver: Receiver, network: RecordingNetwork
) -> None:
    with house(tmp_path) as home:
        receiver.answers = [500, 200]
        job_id = ended(home, hook=f"{HOOK}?key=verysecret0123")
        assert home.vault(job_id) == {"webhook": f"{HOOK}?key=verysecret0123"}
        call_due(home, network)
        later(home, 11.0)
        call_due(home, network)
        assert [path for path, _ in receiver.got] == ["/jobs/done?key=verysecret0123"] * 2
        said = " ".join(home.said)
        assert "hooks.example" in said and "verysecret0123" not in said
        assert "/jobs/done" not in said, "where a webhook has no query, its path is the key"
        files = [path for path in home.options.places.root.rglob("*") if path.is_file()]
        assert not any(b"verysecret0123" in path.read_bytes() for path in files)
        assert "webhook" not in home.attempts(job_id)[0]["secrets"]


def test_a_webhook_that_is_due_outlives_a_restart(
    tmp_path: Path, receiver: Receiver, network: RecordingNetwork
) -> None:
    with house(tmp_path) as home:
        job_id = ended(home, "fail")
    with house(tmp_path) as home:
        call_due(home, network)
        assert receiver.got[0][1]["status"] == "FAILED" and receiver.got[0][1]["id"] == job_id
        assert TOKEN not in json.dumps(receiver.got)


def test_jobs_that_never_ran_have_webhooks_too(
    tmp_path: Path, receiver: Receiver, network: RecordingNetwork
) -> None:
    with house(tmp_path) as home:
        home.service.submit({"input": {}, "webhook": HOOK})
        home.service.cancel(home.submit(webhook=HOOK))
        home.submit(webhook=HOOK)
        home.service.purge()
        call_due(home, network)
        assert sorted(body["status"] for _, body in receiver.got) == ["CANCELLED", "CANCELLED", "FAILED"]


def test_a_job_that_is_sent_again_calls_its_webhook_again(
    tmp_path: Path, receiver: Receiver, network: RecordingNetwork
) -> None:
    with house(tmp_path) as home:
        job_id = ended(home, "fail")
        call_due(home, network)
        home.service.retry(job_id, {})
        home.until_ended(job_id)
        call_due(home, network)
        assert [body.get("retries") for _, body in receiver.got] == [None, 1]


@pytest.mark.parametrize(
    "hook",
    [
        "https://host:x/",
        "https://host:99999/",
        "https://user:pass@hooks.example/",
        "https://user@hooks.example/",
        "https://\u2024.com/",
    ],
)
def test_an_address_that_can_not_be_called_is_refused_at_once(tmp_path: Path, hook: str) -> None:
    with house(tmp_path) as home, pytest.raises(BadRequest, match="without a user or password"):
        home.service.submit({"input": {}, "webhook": hook})


@pytest.mark.parametrize("hook", ["https://host:x/key0123", "https://\u2024.com/key0123"])
def test_an_address_that_can_not_be_called_keeps_no_other_from_being_called(
    tmp_path: Path, receiver: Receiver, network: RecordingNetwork, hook: str
) -> None:
    with house(tmp_path) as home:
        wrong = NewJob(id="a", input={}, held=(), low=False, hook=hook, has_hook=True)
        home.store.add_refused(wrong, {"status": "failed", "error": "no"})
        home.service.submit({"input": {}, "webhook": HOOK})
        call_due(home, network)
        assert len(receiver.got) == 1
        assert "key0123" not in " ".join(home.said)


def test_a_webhook_s_answer_is_not_read_to_its_end(
    tmp_path: Path, receiver: Receiver, network: RecordingNetwork
) -> None:
    receiver.sends_until = time.monotonic() + 8
    with house(tmp_path) as home:
        home.service.submit({"input": {}, "webhook": HOOK})
        call_due(home, network)
        assert time.monotonic() < receiver.sends_until, "it was read to its end"
        receiver.sends_until = 1.0
        call_due(home, network)
        assert len(receiver.got) == 1 and home.said == []


class Dripping:
    """A server that sends a byte of its headers now and then, for as long as it is listened to."""

    def __init__(self) -> None:
        self.calls = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.over = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one = self.listener.accept()[0]
                self.calls += 1
                threading.Thread(target=self._drip, args=(one,), daemon=True).start()

    def _drip(self, one: socket.socket) -> None:
        with one, contextlib.suppress(OSError):
            one.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self.over.wait(0.05):
                one.sendall(b"x")


@pytest.fixture
def dripping() -> Iterator[Dripping]:
    made = Dripping()
    yield made
    made.over.set()
    made.listener.close()


def test_a_receiver_that_drips_is_hung_up_on(
    tmp_path: Path, network: RecordingNetwork, dripping: Dripping
) -> None:
    network.host("hooks.example", PUBLIC, dripping.url)
    with house(tmp_path) as home:
        home.service.submit({"input": {}, "webhook": HOOK})
        called = hooks(home, network, call_s=0.6)
        begun = time.monotonic()
        done, late = wait(called.call_due(), timeout=10)
        taken = time.monotonic() - begun
        dripping.over.set()
        called.stop()
        assert len(done) == 1 and not late and 0.3 < taken < 5
        assert len(home.said) == 1 and "ReadTimeout" in home.said[0]
        assert len(home.store.due_hooks(9)) == 0, "it is called again later, not at once"


def test_a_slow_receiver_holds_up_no_other(
    tmp_path: Path, receiver: Receiver, network: RecordingNetwork, dripping: Dripping
) -> None:
    network.host("slow.example", "93.184.216.35", dripping.url)
    with house(tmp_path) as home:
        for number in range(40):
            home.service.submit({"input": {}, "webhook": f"https://slow.example/{number}"})
        home.service.submit({"input": {}, "webhook": HOOK})
        called = hooks(home, network, call_s=8.0)
        called.start()
        try:
            until = time.monotonic() + 5
            while (len(receiver.got) < 1 or dripping.calls < 4) and time.monotonic() < until:
                time.sleep(0.02)
            assert len(receiver.got) == 1 and 1 <= dripping.calls <= 4
            home.service.submit({"input": {}, "webhook": HOOK})
            while len(receiver.got) < 2 and time.monotonic() < until + 3:
                time.sleep(0.02)
            assert len(receiver.got) == 2 and dripping.calls <= 4
        finally:
            dripping.over.set()
            called.stop()
