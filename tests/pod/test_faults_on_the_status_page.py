"""A bootstrap that fails, for each reason: what the status page says of it, next to a JupyterLab that is up."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from musabi.pod.places import PodPlaces
from musabi.settings import load
from musabi.watch.status import Status
from musabi.watch.status_page import StatusServer

QUICK = {"skip_model_download": True}


@contextmanager
def served(pod: Any) -> Iterator[str]:
    """Serve the status of the pod's workspace on loopback."""
    environ = {"WORKSPACE": str(pod.root), "MUSABI_STATE_DIR": str(pod.options.musabi_state_dir)}
    status = Status(load(environ), PodPlaces(pod.options.musabi_state_dir))
    with StatusServer(("127.0.0.1", 0), status) as server:
        port = server.socket.getsockname()[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.shutdown()
            thread.join(10)


def shown(pod: Any) -> tuple[str, dict[str, Any]]:
    """Return the page and its values."""
    with served(pod) as url:
        values: dict[str, Any] = httpx.get(url + "status.json").json()
        return httpx.get(url).text, values


def few_stages(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the bootstrap have these stages only; weights come besides where they are wanted."""
    from musabi.pod.bootstrap import stages

    short = tuple(stage for stage in stages.PROFILES["musubi"] if stage.name in names)
    monkeypatch.setitem(stages.PROFILES, "musubi", short)


CLONE = {
    "no DNS": ({"musubi_repo_url": "https://nowhere.invalid/x.git"}, "could not be cloned", "MUSUBI_REPO_URL"),
    "refused": ({"musubi_repo_url": "http://127.0.0.1:9/x.git"}, "could not be cloned", "musabi bootstrap again"),
    "wrong ref": ({"musubi_ref": "v9.9.9"}, "MUSUBI_REF is &#34;v9.9.9&#34;", "tag"),
}  # fmt: skip
HUB = {
    "401": (("401", "/api/models", "GET"), "HF_TOKEN", "token"),
    "gated": (("gated", "ae.safetensors", "HEAD"), "is gated", "Ask for it at"),
    "forbidden": (("403", "ae.safetensors", "HEAD"), "read access", "HF_TOKEN"),
    "checksum": (("wrong", "ae.safetensors", "GET"), "wrong bytes twice", "ae.safetensors"),
    "hub down": (("500", "/api/models", "GET"), "error (500) several times", "again"),
    "no such repo": (("404", "/api/models", "GET"), "There is no Comfy-Org/z_image_turbo", "z_image_turbo"),
}


@pytest.mark.parametrize("cause", CLONE)
def test_a_clone_that_fails_is_shown_with_its_mend(
    pod: Any, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    few_stages(monkeypatch, "layout", "clone")
    changes, reason, mend = CLONE[cause]
    pod.run(**changes, **QUICK)
    page, values = shown(pod)
    assert values["bootstrap"]["state"] == "failed"
    assert reason in page and mend in page
    assert "musabi bootstrap" in values["next"]


@pytest.mark.parametrize("cause", HUB)
def test_weights_that_do_not_come_are_shown_with_their_mend(
    pod: Any, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    few_stages(monkeypatch, "layout")
    (kind, path, method), reason, mend = HUB[cause]
    pod.hub.fail(kind, path=path, method=method)
    pod.run()
    page, values = shown(pod)
    assert values["bootstrap"]["stages"]["weights"]["state"] == "failed"
    assert reason in page and mend in page


def test_a_disk_that_is_too_small_is_shown(pod: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    few_stages(monkeypatch, "layout")
    pod.hub.claim_size("Comfy-Org/z_image_turbo", "split_files/vae/ae.safetensors", 10**18)
    pod.run()
    page, _ = shown(pod)
    assert "missing" in page and "badge bad" in page


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_is_full_is_shown(pod: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    few_stages(monkeypatch, "layout", "clone")
    pod.root.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=120k", "none", str(pod.root)]
    if subprocess.run(small, capture_output=True, timeout=20, check=False).returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        pod.run(**QUICK)
        page, values = shown(pod)
    finally:
        subprocess.run(["umount", "-l", str(pod.root)], timeout=20, check=True)
    assert values["bootstrap"]["stages"]["clone"]["state"] == "failed"
    assert "disk" in page and "full" in page


def test_a_bootstrap_that_is_healed_is_shown_as_done(pod: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    few_stages(monkeypatch, "layout")
    pod.hub.fail("401", path="/api/models")
    pod.run()
    pod.hub.heal()
    pod.run()
    page, values = shown(pod)
    assert values["bootstrap"]["state"] == "done" and "badge bad" not in page
