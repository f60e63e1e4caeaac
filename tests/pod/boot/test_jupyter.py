"""JupyterLab as the boot starts it, asked over its own door."""

import hashlib
import http.client
import json
import os
import re
import subprocess
import urllib.parse
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import websocket

from musabi.job.record import ProducedFile, RunRecord, RunState
from musabi.pod.boot.jupyter import JupyterPlan, config_text, is_warning, token_of
from pod.boot.box import HOME, Box, wait_for

TOKEN = "marked-jupyter-token-0123456789"
HOST = "127.0.0.1"
OURS = "https://pod1234-8888.proxy.runpod.net"
CHUNK_BYTES = 1024 * 1024  # JupyterLab's
UPLOAD_BYTES = 300 * CHUNK_BYTES
DOWNLOAD_BYTES = 150 * CHUNK_BYTES


@pytest.fixture(scope="module")
def pod(boxes: Callable[..., Box]) -> Box:
    made = boxes(JUPYTER_TOKEN=TOKEN, RUNPOD_POD_ID="pod1234")
    made.put(
        f"{HOME}/.jupyter/jupyter_server_config.py",
        "c.ServerApp.port = 1\nc.ServerApp.shutdown_no_activity_timeout = 86399\n",
    )
    made.start().ready()
    return made


Answer = tuple[int, dict[str, str], bytes]


def ask(
    pod: Box, path: str, method: str = "GET", token: str | None = TOKEN, body: Any = None, **headers: str
) -> Answer:
    """Send one request from within the container's network."""

    def act() -> Answer:
        link = http.client.HTTPConnection(HOST, 8888, timeout=90)
        given = {"Authorization": f"token {token}"} if token else {}
        link.request(method, path, None if body is None else json.dumps(body), given | headers)
        answer = link.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()

    result: Answer = pod.inside(act, 120)
    return result


def connect(pod: Box, path: str, origin: str | None, host: str = "pod1234-8888.proxy.runpod.net") -> str:
    """Open a websocket as a browser does that has logged in: by its cookie. Return what came of it."""
    given = ask(pod, "/api/me", Host=host)[1]["Set-Cookie"]

    def act() -> str:
        link = websocket.WebSocket()
        try:
            link.connect(
                f"ws://{HOST}:8888{path}",
                timeout=30,
                cookie=given.split(";")[0],
                host=host,
                **({"origin": origin} if origin else {"suppress_origin": True}),
            )
        except websocket.WebSocketBadStatusException as refused:
            return str(refused.status_code)
        link.close()
        return "open"

    return str(pod.inside(act))


def new_terminal(pod: Box) -> str:
    status, _, body = ask(pod, "/api/terminals", "POST")
    assert status == 200
    return str(json.loads(body)["name"])


@pytest.mark.slow
def test_the_probe_gets_an_answer_and_the_token_a_full_one(pod: Box) -> None:
    assert ask(pod, "/api/status", token=None)[0] == 403
    assert ask(pod, f"/api/status?token={TOKEN}", token=None)[0] == 200
    assert ask(pod, "/api/status", token="wrong")[0] == 403
    assert "started" in json.loads(ask(pod, "/api/status")[2])


@pytest.mark.slow
@pytest.mark.parametrize("page", ["/lab", "/tree"])
def test_both_pages_answer_with_the_token_only(pod: Box, page: str) -> None:
    status, _, body = ask(pod, page)
    assert status == 200 and b"jupyter-config-data" in body
    status, headers, _ = ask(pod, page, token=None)
    assert status == 302 and "/login" in headers["Location"]


@pytest.mark.slow
def test_the_server_asks_nobody_for_news(pod: Box) -> None:
    page = ask(pod, "/lab")[2].decode()
    found = re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found is not None
    assert json.loads(found[1])["news"] == {"disabled": True}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("origin", "host", "outcome"),
    [
        (OURS, "pod1234-8888.proxy.runpod.net", "open"),
        (OURS, "10.1.2.3:8888", "open"),
        ("http://localhost:8888", "localhost:8888", "open"),
        (None, "localhost:8888", "open"),
        ("https://evil.example", "pod1234-8888.proxy.runpod.net", "403"),
        ("https://other-8888.proxy.runpod.net", "10.1.2.3:8888", "403"),
        ("http://pod1234-8888.proxy.runpod.net", "10.1.2.3:8888", "403"),
    ],
)
def test_a_page_of_another_origin_gets_no_websocket(
    pod: Box, origin: str | None, host: str, outcome: str
) -> None:
    assert connect(pod, f"/terminals/websocket/{new_terminal(pod)}", origin, host) == outcome


@pytest.mark.slow
def test_a_terminal_is_a_login_shell_in_the_workspace(pod: Box) -> None:
    name = new_terminal(pod)

    def act() -> str:
        link = websocket.create_connection(
            f"ws://{HOST}:8888/terminals/websocket/{name}",
            timeout=30,
            header={"Authorization": f"token {TOKEN}"},
        )
        asked = 'shopt -q login_shell && echo LOGIN=$((40+2)); echo IN=$PWD; echo T=[$JUPYTER_TOKEN]; echo E""ND\r'
        link.send(json.dumps(["stdin", asked]))
        seen = ""
        while "\nEND" not in seen.replace("\r", ""):
            kind, *rest = json.loads(link.recv())
            seen += rest[0] if kind == "stdout" else ""
        link.close()
        return seen

    seen = pod.inside(act)
    assert "LOGIN=42" in seen and "IN=/workspace" in seen and "T=[]" in seen


@pytest.mark.slow
def test_an_upload_of_hundreds_of_megabytes_arrives_whole_and_is_deleted_for_good(pod: Box) -> None:
    rng, sent = Random(7), hashlib.sha256()  # noqa: S311 - bytes to upload
    count = UPLOAD_BYTES // CHUNK_BYTES

    def act() -> int:
        link = http.client.HTTPConnection(HOST, 8888, timeout=90)
        for number in range(1, count + 1):
            piece = rng.randbytes(CHUNK_BYTES)
            sent.update(piece)
            model = {"type": "file", "format": "base64", "name": "big.zip", "path": "dataset/big.zip"}
            model |= {"chunk": number if number < count else -1, "content": b64encode(piece).decode()}
            headers = {"Authorization": f"token {TOKEN}", "Content-Type": "application/json"}
            link.request("PUT", "/api/contents/dataset/big.zip", json.dumps(model), headers)
            answer = link.getresponse()
            answer.read()
            assert answer.status in (200, 201), answer.status
        return count

    assert pod.inside(act, 300) == 300
    file = pod.path("/workspace/dataset/big.zip")
    with file.open("rb") as arrived:
        assert hashlib.file_digest(arrived, "sha256").hexdigest() == sent.hexdigest()
    assert ask(pod, "/api/contents/dataset/big.zip", "DELETE")[0] == 204
    pod.put("/workspace/full/of/things", "x")
    assert ask(pod, "/api/contents/full", "DELETE")[0] == 204
    assert not file.exists() and not pod.path("/workspace/full").exists()
    assert not pod.path(f"{HOME}/.local/share/Trash").exists()


@pytest.mark.slow
def test_a_users_own_settings_are_read_and_ours_win(pod: Box) -> None:
    log = pod.path("/var/lib/musabi/pod/logs/jupyter.log").read_text()
    assert "86399" in log and ":8888/lab" in log


@pytest.mark.slow
def test_a_kernel_runs_without_the_token_and_listens_on_loopback_alone(pod: Box) -> None:
    status, _, body = ask(pod, "/api/kernels", "POST", body={"name": "python3"})
    assert status == 201
    assert pod.booted is not None
    boot = pod.booted
    kernel = wait_for(lambda: boot.named("ipykernel_launcher"), what="the kernel")[0]
    wait_for(lambda: sum(port != 8888 for _, port in listening(pod)) >= 4, what="the kernel's sockets")
    assert "JUPYTER_TOKEN" not in Path(f"/proc/{kernel}/environ").read_text()
    assert {(a, p) for a, p in listening(pod) if a not in ("127.0.0.1", "::1")} == {("0.0.0.0", 8888)}
    assert ask(pod, f"/api/kernels/{json.loads(body)['id']}", "DELETE")[0] == 204


@pytest.mark.slow
def test_tensorboard_and_the_status_page_open_from_the_launcher(pod: Box) -> None:
    servers = json.loads(ask(pod, "/server-proxy/servers-info")[2])["server_processes"]
    tiles = {row["name"]: row["launcher_entry"] for row in servers}
    assert tiles["tensorboard"]["title"] == "TensorBoard" and tiles["tensorboard"]["enabled"]
    assert tiles["page"]["title"] == "Run page" and tiles["page"]["enabled"]
    assert not tiles["status"]["enabled"], "it is for the notebooks' cells: the run page shows the same"
    status, _, body = ask(pod, "/tensorboard/")
    assert status == 200 and b"TensorBoard" in body
    script = re.search(rb'src="([^"/:][^":]*\.js)', body)
    if script is not None:
        assert ask(pod, f"/tensorboard/{script[1].decode()}")[0] == 200
    assert b"scalars" in ask(pod, "/tensorboard/data/plugins_listing")[2]
    assert json.loads(ask(pod, "/tensorboard/data/environment")[2])["data_location"] == "/workspace/logs"
    assert ask(pod, "/tensorboard/", token=None)[0] in (302, 403)
    assert ask(pod, "/status/")[0] == 200
    assert ask(pod, "/status/status.json")[0] == 200
    assert {(a, p) for a, p in listening(pod) if a not in ("127.0.0.1", "::1")} == {("0.0.0.0", 8888)}


@pytest.mark.slow
def test_the_run_page_is_shown_kept_up_to_date_and_changed_through_the_proxy(pod: Box) -> None:
    public = "pod1234-8888.proxy.runpod.net"
    shown = ask(pod, "/page/pod", Host=public)
    assert shown[0] == 200 and b"What to do next" in shown[2]
    assert "default-src 'none'" in shown[1]["Content-Security-Policy"]
    assert ask(pod, "/page/pod", token=None)[0] in (302, 403)
    assert ask(pod, "/page/static/live.js")[0] == 200
    key = re.search(rb'name="musabi-key" content="([^"]+)"', shown[2])
    assert key is not None
    event = event_of(pod, "/page/live?page=pod", "next")
    assert "What to do next" in event["html"] and event["hash"]

    def refused_in_words(words: str, body: Any, **headers: str) -> bool:
        status, _, said = ask(pod, "/page/do", "POST", body=body, **headers)
        return status == 403 and words in said.decode() and len(said) < 200

    asked = {"Host": public, "X-Musabi-Key": key[1].decode(), "Content-Type": "application/json"}
    body = {"verb": "pod-keep", "hours": "1"}
    status, _, said = ask(pod, "/page/do", "POST", body=body, Origin=OURS, **asked)
    assert status == 200 and json.loads(said)["message"] == "The pod is kept."
    assert json.loads(pod.path("/var/lib/musabi/pod/keep.json").read_text())["until"] > 0
    for origin in ("https://evil.example", "https://other-8888.proxy.runpod.net"):
        assert refused_in_words("must come from this page", body, Origin=origin, **asked)
    wrong = asked | {"X-Musabi-Key": "wrong"}
    assert refused_in_words("Load it again", body | {"more": "x" * 900_000}, Origin=OURS, **wrong)
    assert {(a, p) for a, p in listening(pod) if a not in ("127.0.0.1", "::1")} == {("0.0.0.0", 8888)}


@pytest.mark.slow
def test_a_checkpoint_larger_than_a_proxied_answer_may_be_is_downloaded(pod: Box) -> None:
    file = Path("/workspace/output/large.safetensors")
    made = ProducedFile(kind="checkpoint", path=file, size=DOWNLOAD_BYTES, made=1.0)
    job = {"output_name": "large", "output_dir": str(file.parent)}
    record = RunRecord(id="large", state=RunState.DONE, job=job, plan={}, files=[made])
    pod.put("/workspace/runs/large/record.json", record.model_dump_json())
    pod.put(str(file), "")
    os.truncate(pod.path(str(file)), DOWNLOAD_BYTES)
    status, headers, _ = ask(pod, "/page/checkpoint?id=large&stem=large")
    assert status == 303
    address = urllib.parse.urljoin("/page/checkpoint", headers["Location"])
    status, headers, _ = ask(pod, address, "HEAD")
    assert (status, int(headers["Content-Length"])) == (200, DOWNLOAD_BYTES)
    status, _, rest = ask(pod, address, Range=f"bytes={DOWNLOAD_BYTES - 1000}-")
    assert (status, len(rest)) == (206, 1000), "a download that broke goes on"


def event_of(pod: Box, path: str, part: str) -> dict[str, Any]:
    """Return a part's first event of a stream, read as it comes and not at the stream's end."""

    def act() -> dict[str, Any]:
        link = http.client.HTTPConnection(HOST, 8888, timeout=30)
        link.request("GET", path, headers={"Authorization": f"token {TOKEN}", "Accept": "text/event-stream"})
        answer = link.getresponse()
        assert answer.status == 200 and answer.headers.get_content_type() == "text/event-stream"
        found: dict[str, Any] = {}
        while found.get("part") != part:
            line = answer.readline()
            assert line, "the stream ended"
            found = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else {}
        link.close()
        return found

    return dict(pod.inside(act, 60))


@pytest.mark.slow
def test_only_what_was_asked_for_listens_to_all(box: Box) -> None:
    public = make_key(box)
    boot = box.start(SSH_PUBLIC_KEY=public, AUTO_START_TENSORBOARD="1", JUPYTER_PORT="8899").ready()
    wait_for(lambda: ("127.0.0.1", 6006) in listening(box), what="TensorBoard")
    wait_for(lambda: ("0.0.0.0", 22) in listening(box), what="sshd")
    open_to_all = {port for address, port in listening(box) if address not in ("127.0.0.1", "::1")}
    assert open_to_all == {22, 8899}
    assert boot.end() == 143
    box.start(AUTO_START_TENSORBOARD="1", TENSORBOARD_HOST="0.0.0.0", TENSORBOARD_PORT="6007").ready()
    wait_for(lambda: ("0.0.0.0", 6007) in listening(box), what="TensorBoard")
    assert {port for address, port in listening(box) if address not in ("127.0.0.1", "::1")} == {8888, 6007}


def make_key(box: Box) -> str:
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(box.path("/k"))]
    subprocess.run(make, check=True, timeout=20)
    return box.path("/k.pub").read_text()


def listening(box: Box) -> set[tuple[str, int]]:
    """Return (address, port) of every TCP socket that listens, and of every UDP socket, in the container."""
    assert box.booted is not None
    found = set()
    for name, states in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for row in Path(f"/proc/{box.booted.first}/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state = row.split()[:4]
            address, port = local.split(":")
            if state == states:
                found.add((address_of(address), int(port, 16)))
    return found


def address_of(text: str) -> str:
    if len(text) == 8:
        return ".".join(str(byte) for byte in reversed(bytes.fromhex(text)))
    return (
        "::1"
        if text.endswith("01000000") and set(text[:-8]) == {"0"}
        else "::"
        if set(text) == {"0"}
        else text
    )


def test_warnings_are_passed_on_and_pages_not_found_are_not() -> None:
    stamp = "2026-11-21 11:31:58.040 ServerApp]"
    assert is_warning(f"[W {stamp} Config option `x` not recognized")
    assert is_warning(f"[E {stamp} 500 GET /api/contents")
    assert not is_warning(f"[W {stamp} 404 GET /font-roboto/a.woff2 (user@127.0.0.1) 3.83ms")
    assert not is_warning(f"[I {stamp} Serving notebooks")


def test_the_token_is_never_empty() -> None:
    assert token_of({"JUPYTER_TOKEN": "a", "JUPYTER_PASSWORD": "b"}, "c") == "a"
    assert token_of({"JUPYTER_TOKEN": " ", "JUPYTER_PASSWORD": "b"}, "c") == "b"
    assert token_of({"JUPYTER_TOKEN": "", "JUPYTER_PASSWORD": ""}, "c") == "c"
    made = {token_of({}, None) for _ in range(20)}
    assert len(made) == 20 and all(len(token) >= 32 and urllib.parse.quote(token) == token for token in made)


def test_the_configuration_is_python_whatever_the_values_hold(tmp_path: Path) -> None:
    class Config(dict[str, Any]):
        def __getattr__(self, name: str) -> Any:
            return self.setdefault(name, Config())

        def __setattr__(self, name: str, value: Any) -> None:
            self[name] = value

    (tmp_path / "to'k\"en").write_text("secret\n")
    folder = Path("/a'b\"c\n{d}")
    plan = JupyterPlan(
        tmp_path / "to'k\"en",
        folder,
        default_url="tree\n';x",
        origin="https://ABC",
        tensorboard_logdir=folder,
    )
    text, config = config_text(plan), Config()
    exec(text, {"get_config": lambda: config})  # noqa: S102 - what Jupyter does with it
    assert "secret" not in text
    assert config["IdentityProvider"]["token"] == "secret"
    assert config["ServerApp"]["root_dir"] == str(folder)
    assert config["ServerApp"]["allow_origin"] == "https://abc"
    command = config["ServerProxy"]["servers"]["tensorboard"]["command"]
    assert [word.format(port=1) for word in command][-5:-2] == [str(folder), "--host", "127.0.0.1"]
