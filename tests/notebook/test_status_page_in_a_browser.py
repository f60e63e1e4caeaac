"""The status page as a browser shows it, behind a real jupyter-server-proxy: width, light and dark, refresh."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from musabi.job.events import Event
from musabi.job.record import RunState
from musabi.pod.boot import jupyter
from small.chromium import chromium, too_wide, why_not
from small.standing import HOSTILE, Standing

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]
TOKEN = "a-token-for-a-test"
LONG = "W" * 300 + HOSTILE


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Standing:
    return Standing(tmp_path_factory.mktemp("pod"))


@pytest.fixture(scope="module")
def address(pod: Standing) -> Iterator[str]:
    """JupyterLab as the pod configures it, under /a/prefix/; the status page's address behind it."""
    pytest.importorskip("jupyter_server_proxy")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {name: value for name, value in os.environ.items() if name != "ENGINE"} | pod.environ
    jupyter.keep_token(pod.places, {"JUPYTER_TOKEN": TOKEN})
    plan = jupyter.JupyterPlan(pod.places.token, pod.space.root, port, ip="127.0.0.1")
    jupyter.write_config(pod.places, plan)
    config = pod.places.jupyter_config / jupyter.CONFIG_NAME
    config.write_text(config.read_text() + "c.ServerApp.base_url = '/a/prefix/'\n")
    server = subprocess.Popen(
        jupyter.command(sys.executable), env=jupyter.environment(environ, pod.places), cwd=pod.space.root,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/a/prefix/status"
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                if httpx.get(f"{url}/health?token={TOKEN}", timeout=30).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, "the status page did not come up behind JupyterLab"
            time.sleep(0.3)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def test_it_needs_jupyters_token(address: str) -> None:
    assert httpx.get(f"{address}/status.json").status_code in (302, 403)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_its_width_and_takes_what_changes(
    pod: Standing, address: str, tmp_path: Path, width: int, dark: bool
) -> None:
    pod.everything()
    pod.report(("GPU", "ok", LONG), ("hub", "blocks", LONG), more=(LONG,))
    pod.services(jupyter=("running", ""), bootstrap=("failed", LONG), sshd=("off", ""))
    run = pod.run(RunState.RUNNING, name=LONG, message=LONG)
    with chromium(tmp_path) as browser:
        scheme = "dark" if dark else "light"
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        problems: list[str] = []
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{address}?token={TOKEN}")
        assert page.url.split("?")[0].endswith("/a/prefix/status/")
        page.wait_for_selector("text=step 40 of 100")
        assert too_wide(page) == []
        background = page.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor")
        assert background == ("rgb(20, 23, 26)" if dark else "rgb(250, 249, 246)")
        page.screenshot(path=str(tmp_path / f"status-{width}-{scheme}.png"), full_page=True)
        with run.events_file.open("a") as file:
            file.write(Event("train", step=41, steps=100, loss=0.4).to_json() + "\n")
        page.wait_for_selector("text=step 41 of 100", timeout=20_000)
        assert page.title() == "Pod status", "no script of a message ran"
        assert problems == []


def test_one_run_alone_can_be_looked_at_and_a_page_that_is_cut_off_says_so(
    pod: Standing, address: str, tmp_path: Path
) -> None:
    first = pod.run(RunState.DONE, name="first")
    pod.run(RunState.RUNNING, name="second")
    with chromium(tmp_path) as browser:
        page = browser.new_page()
        page.goto(f"{address}/run?id={first.path.name}&token={TOKEN}")
        page.wait_for_timeout(2500)
        text = page.inner_text("main")
        assert "first" in text and "second" not in text and "Boot report" not in text
        page.route(re.compile("status.json"), lambda route: route.abort())
        page.wait_for_selector("text=The pod does not answer", timeout=20_000)


def test_the_status_is_json_for_programs(pod: Standing, address: str) -> None:
    pod.everything()
    values: dict[str, Any] = json.loads(httpx.get(f"{address}/status.json?token={TOKEN}").text)
    assert values["stop"]["action"] == "stop" and values["services"][0]["name"] == "jupyter"
