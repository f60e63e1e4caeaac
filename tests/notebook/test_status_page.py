"""The status page: what it shows for each state, that it escapes everything, and how it is served."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from musabi.job.events import Event
from musabi.job.record import RunState
from musabi.settings import load
from musabi.watch import status_html
from musabi.watch.status import Status, averaged
from small.standing import HOSTILE, NOT_OURS, Standing


@pytest.fixture
def pod(tmp_path: Path) -> Standing:
    return Standing(tmp_path)


def look(pod: Standing, **more: Any) -> dict[str, Any]:
    return Status(load(pod.environ), pod.places).look(**more)


def page(pod: Standing) -> str:
    return status_html.page(look(pod))


@contextmanager
def served(pod: Standing, *where: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """Run the status page as jupyter-server-proxy does."""
    clean = {name: value for name, value in os.environ.items() if name not in ("ENGINE", "OUTPUT_NAME")}
    process = subprocess.Popen(
        [sys.executable, "-m", "musabi.watch.status_page", *where],
        env=clean | pod.environ | environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


def on_socket(path: Path) -> httpx.Client:
    """Return a client of a unix socket that somebody listens on."""
    client = httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://pod")
    deadline = time.monotonic() + 60
    while True:
        try:
            client.get("/health")
            return client
        except httpx.TransportError:
            assert time.monotonic() < deadline, "the status page did not start"
            time.sleep(0.1)


def test_an_empty_pod_says_what_to_do(pod: Standing) -> None:
    assert "musabi bootstrap" in look(pod)["next"]
    assert "Nothing was started yet" in page(pod)


def test_everything_at_once_is_shown(pod: Standing) -> None:
    pod.everything()
    shown = page(pod)
    for text in (
        "NVIDIA H100", "KEEP_LAST_STATES=1", "in the way", "could not be cloned", "MUSUBI_REPO_URL",
        "7.3 GB of 21 GB, 7 min 11 s left", "not started", "step 40 of 100", "loss 0.5250", "1 min 12 s left",
        "This pod will be stopped in 1 min 3", "nothing was done here for 30 minutes", "musabi.keep()",
    ):  # fmt: skip
        assert text in shown, text


@pytest.mark.parametrize(
    ("state", "words", "following"),
    [
        (RunState.RUNNING, "running", "close every tab"),
        (RunState.DONE, "done", "take the LoRA"),
        (RunState.FAILED, "failed", "training cell again"),
        (RunState.STOPPED, "stopped", "goes on from the newest saved state"),
    ],
)
def test_a_run_is_shown_in_each_state(pod: Standing, state: RunState, words: str, following: str) -> None:
    pod.bootstrap("done", layout={"state": "done"})
    pod.run(state, message="It said why. And what to do.")
    values = look(pod)
    assert values["run"]["state"] == state.value and following in values["next"]
    shown = page(pod)
    assert f">{words}</span>" in shown and "It said why." in shown


def test_a_run_whose_process_is_gone_is_interrupted(pod: Standing) -> None:
    pod.run(RunState.RUNNING, pid=2**22 - 7, pid_started=1.0)
    assert look(pod)["run"]["state"] == "interrupted"


def test_a_bootstrap_in_a_container_that_is_gone_is_interrupted(pod: Standing) -> None:
    pod.bootstrap("running", clone={"state": "running"})
    file = pod.space.state / "bootstrap.json"
    values = json.loads(file.read_text())
    values["run"] |= {"pid": 2**22 - 7, "pid_started": 1.0}
    file.write_text(json.dumps(values))
    assert "musabi bootstrap" in look(pod)["next"]
    assert ">interrupted</span>" in page(pod)


def test_a_training_is_told_of_rather_than_what_was_prepared_after_it(pod: Standing) -> None:
    training = pod.run(RunState.DONE)
    pod.run(RunState.DONE, plan={"schedule": None, "steps": []}, created=time.time() + 5)
    assert look(pod)["run"]["id"] == training.path.name


def test_a_run_can_be_named(pod: Standing) -> None:
    first = pod.run(RunState.DONE)
    pod.run(RunState.RUNNING, created=time.time() + 5)
    assert look(pod, run=first.path.name)["run"]["id"] == first.path.name
    assert look(pod, run="../../etc")["run"]["state"] == "running"


def test_progress_is_read_on_from_where_it_was(pod: Standing) -> None:
    run = pod.run(RunState.RUNNING, done=3)
    status = Status(load(pod.environ), pod.places)
    assert status.look()["run"]["progress"]["step"] == 3
    line = Event("train", step=4, steps=100, loss=0.25).to_json()
    with run.events_file.open("a") as file:
        file.write(line[:20])
    assert status.look()["run"]["progress"]["step"] == 3
    with run.events_file.open("a") as file:
        file.write(line[20:] + "\n")
    found = status.look()["run"]
    assert found["progress"]["step"] == 4 and found["losses"][-1] == [4.0, 0.25]


def test_many_losses_become_few_points_with_their_mean() -> None:
    points = [(float(step), float(step % 2)) for step in range(1, 1001)]
    few = averaged(points, 100)
    assert len(few) == 100 and few[-1] == (1000.0, 0.5)
    assert averaged([], 100) == [] and averaged(points[:1], 100) == points[:1]


def test_hostile_text_stays_text(pod: Standing) -> None:
    pod.report((HOSTILE, HOSTILE, HOSTILE), more=(HOSTILE,))
    pod.services(**{HOSTILE: (HOSTILE, HOSTILE)})
    pod.bootstrap("failed", **{HOSTILE: {"state": "failed", "message": HOSTILE}})
    pod.run(RunState.FAILED, name=HOSTILE, message=HOSTILE)
    pod.announce("delete", HOSTILE, 60)
    shown = page(pod) + "".join(status_html.parts(look(pod)).values()) + status_html.cell(look(pod))
    assert "&lt;script&gt;" in shown
    for forbidden in ("<script>", "<img src=x", 'onerror=alert(1)>"'):
        assert forbidden not in shown


@pytest.mark.parametrize("text", NOT_OURS)
def test_files_that_hold_something_else_are_passed_over(pod: Standing, text: str) -> None:
    pod.hold_everywhere(text)
    assert look(pod)["next"] and page(pod)


def test_it_serves_on_a_unix_socket_and_ends_when_asked(pod: Standing, tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("left behind")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    pod.everything()
    with served(pod, "--socket", str(path)) as process:
        client = on_socket(path)
        assert client.get("/health").json() == {"status": "ok"}
        answer = client.get("/")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "<style" not in answer.text and " style=" not in answer.text and "onclick" not in answer.text
        values = client.get("/status.json").json()
        assert values["run"]["progress"]["step"] == 40 and set(values["html"]) == set(status_html.PARTS)
        assert "Train the LoRA" in client.get("/run").text and "Boot report" not in client.get("/run").text
        assert client.get("/status.js").headers["content-type"].startswith("text/javascript")
        assert client.get("/status.css").headers["content-type"].startswith("text/css")
        assert client.get("/../../etc/passwd").status_code == 404
        assert client.post("/").status_code == 501
        head = client.head("/")
        assert head.status_code == 200 and not head.content
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        assert not path.exists()


def test_a_wrong_variable_is_shown_and_secrets_are_not(pod: Standing, tmp_path: Path) -> None:
    token = "hf_notforanybodyselse123"
    pod.bootstrap("failed", clone={"state": "failed", "message": f"somebody wrote {token} here"})
    with served(pod, "--socket", str(tmp_path / "s"), NETWORK_DIM="many", HF_TOKEN=token):
        client = on_socket(tmp_path / "s")
        shown, values = client.get("/").text, client.get("/status.json").text
    assert "NETWORK_DIM is &#34;many&#34;" in shown and "somebody wrote *** here" in shown
    assert token not in shown + values


def test_an_address_that_is_taken_is_said(pod: Standing) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with served(pod, "--port", str(taken.getsockname()[1])) as process:
            assert process.wait(timeout=30) == 3
            assert process.stdout is not None and "can't listen there" in process.stdout.read()
