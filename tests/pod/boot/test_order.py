"""In which order things start, and that nothing that fails keeps JupyterLab down."""

import contextlib
import json
import re
import time
from typing import Any

import pytest

from pod.boot.box import HOME, Box, wait_for
from pod.boot.git_host import empty_git_host
from pod.boot.hanging import FUSE, dead_volume

pytestmark = pytest.mark.slow
# A bootstrap that does its first stages and then can't reach anything: there is no network in a box.
UNREACHABLE = {
    "RUN_BOOTSTRAP_ON_START": "1",
    "SKIP_MODEL_DOWNLOAD": "1",
    "MUSUBI_REPO_URL": "http://127.0.0.1:9/musubi-tuner.git",
}
ALL_FINE = {"RUN_BOOTSTRAP_ON_START": "1", "ENGINE": "diffusers"}


def boot_json(box: Box) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(box.path("/var/lib/musabi/pod/boot.json").read_text())
    return values


def test_jupyter_answers_before_the_bootstrap_has_ended_and_stays_when_it_fails(box: Box) -> None:
    with empty_git_host(box) as host:
        boot = box.start(**UNREACHABLE | {"MUSUBI_REPO_URL": host.url}).ready()
        assert " bootstrap: It failed" not in boot.log
        host.answer()
        log = boot.wait_for_log(" bootstrap: It failed", 90)
    assert "JupyterLab stays up" in log and re.search(rf" bootstrap: .*{re.escape(host.url)}", log)
    assert boot_json(box)["services"]["bootstrap"]["state"] == "failed"
    assert box.ok("musabi", "health").strip() == "JupyterLab answers."
    assert boot.process.poll() is None


def test_bootstrap_wait_ends_the_bootstrap_first(box: Box) -> None:
    log = box.start(**ALL_FINE, BOOTSTRAP_WAIT="1").ready().log
    assert log.index(" bootstrap: Done.") < log.index(" jupyter: JupyterLab was started")


def test_bootstrap_wait_starts_jupyter_also_after_a_failure(box: Box) -> None:
    with empty_git_host(box) as host:
        boot = box.start(**UNREACHABLE | {"MUSUBI_REPO_URL": host.url}, BOOTSTRAP_WAIT="1")
        boot.wait_for_log("BOOTSTRAP_WAIT is 1")
        wait_for(lambda: boot.named("musabi bootstrap"), what="the bootstrap")
        asked = box.run("musabi", "health")
        assert asked.returncode == 3
        assert "JupyterLab is not started yet; before it runs: bootstrap" in asked.stdout
        host.answer()
        log = boot.ready(120).log
    assert log.index(" bootstrap: It failed") < log.index(" jupyter: JupyterLab was started")


def test_no_bootstrap_where_none_is_wanted_but_the_workspace_is_laid_out(box: Box) -> None:
    boot = box.start().ready()
    assert boot_json(box)["services"]["bootstrap"]["state"] == "off"
    assert not boot.named("musabi bootstrap")
    assert box.path("/workspace/dataset/dataset.toml").is_file()
    assert box.path("/workspace/scripts").is_dir()
    toml = box.path("/workspace/dataset/dataset.toml").read_text()
    assert 'image_directory = "/workspace/dataset/images"' in toml


def test_every_line_of_the_log_has_one_form(box: Box) -> None:
    boot = box.start(**ALL_FINE).ready()
    boot.wait_for_log(" bootstrap: Done.")
    form = re.compile(r"musabi \d\d:\d\d:\d\d [a-z_]+: \S.*")
    assert [line for line in boot.log.splitlines() if not form.fullmatch(line)] == []


def test_hooks_run_before_and_after_and_may_fail(box: Box) -> None:
    box.put("/pre_start.sh", "echo pre $WORKSPACE; touch /pre-was-here; exit 7\n")
    box.put("/post_start.sh", "seq 1 5000; echo post >&2; exit 8\n")
    log = box.start().ready().log
    log = box.booted.wait_for_log(" post_start: It failed (exit code 8).") if box.booted else log
    first = log.splitlines()
    assert first[0].endswith(" pre_start: pre /workspace")
    assert first[1].endswith(" pre_start: It failed (exit code 7).")
    assert box.path("/pre-was-here").exists()
    shown = [line for line in first if " post_start: " in line]
    assert len(shown) == 102
    assert "5000" in box.path("/var/lib/musabi/pod/logs/post_start.log").read_text()


def test_a_hook_that_hangs_can_be_ended(box: Box) -> None:
    box.put("/pre_start.sh", "echo waiting; sleep 1000\n")
    boot = box.start()
    boot.wait_for_log("pre_start: waiting")
    assert boot.end(6) == 143


def test_a_wrong_variable_is_said_once_and_the_default_used(box: Box) -> None:
    boot = box.start(**ALL_FINE | {"JUPYTER_PORT": "eighty", "NETWORK_DIM": "many", "HF_MAX_WORKERS": "0"})
    log = boot.ready().log
    log = boot.wait_for_log(" bootstrap: Done.")
    assert log.count("JUPYTER_PORT is") == 1 and "The default is used: 8888." in log
    assert log.count("NETWORK_DIM is") == 1 and log.count("HF_MAX_WORKERS is") == 1
    assert box.ok("musabi", "health")
    assert box.run("musabi", "check").returncode == 2


def test_jupyter_comes_up_on_a_volume_that_cannot_be_written(box: Box) -> None:
    box.mount("-t", "tmpfs", "-o", "ro", "none", "{}/workspace")
    log = box.start().ready().log
    assert "Read-only file system. The boot goes on." in log
    assert "/workspace" in box.path("/var/lib/musabi/pod/jupyter/jupyter_server_config.py").read_text()


def test_jupyter_comes_up_on_a_full_volume(box: Box) -> None:
    box.mount("-t", "tmpfs", "-o", "size=16k", "none", "{}/workspace")
    box.put("/workspace/README", "mine")
    with box.path("/workspace/fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    log = box.start().ready().log
    assert "No space left on device. The boot goes on." in log


def test_jupyter_opens_the_home_folder_where_there_can_be_no_workspace(box: Box) -> None:
    box.put("/afile", "not a folder")
    log = box.start(WORKSPACE="/afile/workspace").ready().log
    assert "/afile/workspace can't be used, so JupyterLab opens /root." in log


def test_jupyter_comes_up_where_the_state_folder_cannot_be_written(box: Box) -> None:
    box.path("/var/lib/musabi").mkdir(parents=True)
    box.mount("-t", "tmpfs", "-o", "ro", "none", "{}/var/lib/musabi")
    log = box.start().ready().log
    assert "so the pod's files are in /dev/shm/musabi" in log
    assert box.ok("musabi", "health")
    assert "token=" in box.ok("musabi", "url")


def test_a_file_in_the_workspace_stands_in_for_no_module(box: Box) -> None:
    for name in ("json", "typer", "tornado"):
        box.put(f"/workspace/{name}.py", "raise SystemExit(9)\n")
    log = box.start(**ALL_FINE).ready().log
    assert box.booted is not None
    log = box.booted.wait_for_log(" bootstrap: Done.")
    assert "exit code 9" not in log and "Traceback" not in log


@pytest.mark.parametrize("hook", ["pre_start", "post_start"])
def test_jupyter_comes_up_where_a_hook_cannot_even_be_looked_at(box: Box, hook: str) -> None:
    box.path(f"/{hook}.sh").symlink_to("x" * 300)
    boot = box.start().ready()
    assert f"/{hook}.sh: /{hook}.sh: File name too long. The boot goes on." in boot.log
    assert box.ok("musabi", "health")


@pytest.mark.skipif(not FUSE.exists(), reason="this machine has no FUSE")
def test_jupyter_comes_up_on_a_volume_that_hangs(box: Box) -> None:
    with dead_volume(box, "/workspace"):
        boot = box.start(**UNREACHABLE, BOOTSTRAP_WAIT="1", cwd="/")
        log = boot.ready().log
        assert (
            "The workspace's folders: the volume did not answer within 10 s (/workspace). The boot goes on."
            in log
        )
        assert "/workspace can't be used, so JupyterLab opens /root." in log
        begun = time.monotonic()
        assert boot.end(10) == 143
        assert time.monotonic() - begun < 6


@pytest.mark.skipif(not FUSE.exists(), reason="this machine has no FUSE")
def test_a_boot_that_waits_for_a_volume_can_be_ended(box: Box) -> None:
    with dead_volume(box, "/workspace"):
        boot = box.start(cwd="/", SSH_PUBLIC_KEY="none")
        boot.wait_for_log("sshd: Line 1")
        assert boot.end(6) == 143


def test_a_folder_of_a_user_that_nobody_is_gives_way_to_the_default(box: Box) -> None:
    log = box.start(WORKSPACE="~nosuch/x", MUSABI_STATE_DIR="~nosuch/x").ready().log
    assert 'WORKSPACE is "~nosuch/x", but it begins with a user that this machine has not.' in log
    assert 'MUSABI_STATE_DIR is "~nosuch/x"' in log and log.count("WORKSPACE is") == 1
    assert box.path("/workspace/dataset/dataset.toml").is_file()
    assert box.path(f"{HOME}/.local/share/musabi/pod/boot.json").is_file()
    assert box.ok("musabi", "health")


@pytest.mark.parametrize("name", ["ON_FINISH", "ON_ERROR"])
def test_the_guard_is_there_for_the_end_of_a_run(box: Box, name: str) -> None:
    boot = box.start(**{name: "stop", "RUNPOD_POD_ID": "pod1234"})
    boot.wait_for_log(" guard: The guard keeps the countdown of ON_FINISH and ON_ERROR.")
    wait_for(lambda: boot_json(box)["services"]["guard"]["state"] == "running", what="the guard")
