"""The container, from the entrypoint as PID 1 to its end."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from image.container import Container
from image.world import World

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]

Boot = Callable[..., Container]
TOKEN = "marked-jupyter-token-1"
PLATFORM_SECONDS = 5.0


def wait_for_jupyter(pod: Container, token: str = TOKEN) -> dict[str, object]:
    """Wait until JupyterLab answers; return what it says of itself."""

    def ask() -> object:
        status, body = pod.get(8888, "/api/status", {"Authorization": f"token {token}"})
        return json.loads(body) if status == 200 else None

    answer: dict[str, object] = pod.wait(ask)
    return answer


def open_ports(pod: Container) -> set[int]:
    return {listener.port for listener in pod.listeners if not listener.is_loopback}


def test_the_entrypoint_is_pid_1_and_jupyter_answers_with_the_token_alone(boot: Boot) -> None:
    pod = boot(RUN_BOOTSTRAP_ON_START="0", JUPYTER_TOKEN=TOKEN)
    assert "started" in wait_for_jupyter(pod)
    first = pod.processes[0]
    assert first.pid == 1
    assert "musabi.pod.boot" in first.argv
    assert pod.get(8888, "/api/status")[0] == 403
    assert pod.get(8888, "/api/status", {"Authorization": "token wrong"})[0] == 403
    signed_in = {"Authorization": f"token {TOKEN}"}
    assert [pod.get(8888, page, signed_in)[0] for page in ("/lab", "/tree")] == [200, 200]


def test_the_health_check_says_no_before_jupyter_answers_and_yes_after(boot: Boot, tmp_path: Path) -> None:
    hold = "#!/bin/sh\nwhile [ -e /workspace/hold ]; do sleep 0.1; done\n"
    (tmp_path / "volume/hold").touch()
    pod = boot(RUN_BOOTSTRAP_ON_START="0", prepare=lambda root: (root / "pre_start.sh").write_text(hold))
    check = ("/usr/local/bin/musabi", "health")
    before = pod.exec(*check)
    assert before.returncode != 0 and before.stdout + before.stderr != ""
    (tmp_path / "volume/hold").unlink()
    pod.wait(lambda: pod.exec(*check).returncode == 0)
    begun = time.monotonic()
    assert pod.exec(*check).returncode == 0
    assert time.monotonic() - begun < 5


def test_only_jupyter_listens_on_other_than_loopback(boot: Boot) -> None:
    pod = boot(RUN_BOOTSTRAP_ON_START="0", AUTO_START_TENSORBOARD="1", JUPYTER_TOKEN=TOKEN)
    wait_for_jupyter(pod)
    pod.wait(lambda: 6006 in {listener.port for listener in pod.listeners})
    assert open_ports(pod) == {8888}


def test_ssh_and_tensorboard_are_opened_on_request(boot: Boot, tmp_path: Path) -> None:
    key = tmp_path / "key"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(argv, check=True, timeout=30)
    pod = boot(
        RUN_BOOTSTRAP_ON_START="0",
        AUTO_START_TENSORBOARD="1",
        TENSORBOARD_HOST="0.0.0.0",
        PUBLIC_KEY=key.with_suffix(".pub").read_text().strip(),
        JUPYTER_TOKEN=TOKEN,
    )
    wait_for_jupyter(pod)
    pod.wait(lambda: open_ports(pod) >= {22, 6006})
    assert open_ports(pod) == {22, 6006, 8888}
    done = log_in(pod, key, "pwd; echo $MUSABI_IMAGE; id -u; exit")
    assert done.returncode == 0, done.stderr
    folder, image, user = done.stdout.splitlines()[-3:]
    assert (folder, user) == ("/workspace", "0") and image.startswith("slim")


def log_in(pod: Container, key: Path, typed: str) -> "subprocess.CompletedProcess[str]":
    """Log in by SSH from within the container's network, and type."""
    options = (
        "StrictHostKeyChecking=no",
        f"UserKnownHostsFile={key}.hosts",
        "BatchMode=yes",
        "LogLevel=ERROR",
    )
    ssh = ["ssh", *(f"-o{option}" for option in options), "-i", str(key), "root@127.0.0.1"]
    enter = ["nsenter", f"--net={pod.network.path}"]
    return subprocess.run(
        [*enter, *ssh], input=typed, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_stop_ends_everything_within_the_platforms_grace(boot: Boot) -> None:
    pod = boot(RUN_BOOTSTRAP_ON_START="0", AUTO_START_TENSORBOARD="1", JUPYTER_TOKEN=TOKEN)
    wait_for_jupyter(pod)
    deaf = "trap '' TERM INT HUP; while :; do sleep 1; done"
    # In a session of its own, with a parent that is gone: nothing but PID 1 knows of it.
    pod.exec("setsid", "--fork", "sh", "-c", f"exec >/dev/null 2>&1; {deaf}")
    assert any("trap" in " ".join(process.argv) for process in pod.processes)
    seen: list[set[str]] = []
    begun = time.monotonic()
    os.kill(pod.init, signal.SIGTERM)
    while pod.is_running and time.monotonic() - begun < 10:
        if processes := pod.processes:
            seen.append({" ".join(process.argv) for process in processes if process.state != "Z"})
    assert time.monotonic() - begun < PLATFORM_SECONDS
    assert pod.code == 143
    assert len(seen[-1]) == 1, "the kernel had to end what PID 1 left"
    assert "Ended." in pod.logs


def test_orphans_are_reaped(boot: Boot) -> None:
    pod = boot(RUN_BOOTSTRAP_ON_START="0", JUPYTER_TOKEN=TOKEN)
    wait_for_jupyter(pod)
    for _ in range(5):
        pod.exec("sh", "-c", "setsid sleep 0.2 >/dev/null 2>&1 & exit 0")
    pod.wait(lambda: not any("sleep" in process.argv for process in pod.processes))
    time.sleep(1.5)
    assert [process for process in pod.processes if process.state == "Z"] == []


def test_a_file_in_the_workspace_does_not_stand_in_for_pythons_own(boot: Boot, volume: Path) -> None:
    for name in ("json", "typing", "logging", "musabi", "tornado"):
        (volume / f"{name}.py").write_text(
            f"import pathlib\npathlib.Path('/imported-{name}').touch()\nraise ImportError('{name}')\n"
        )
    pod = boot(RUN_BOOTSTRAP_ON_START="0", AUTO_START_TENSORBOARD="1", JUPYTER_TOKEN=TOKEN)
    wait_for_jupyter(pod)
    pod.wait(lambda: 6006 in {listener.port for listener in pod.listeners})
    assert pod.exec("musabi", "health").returncode == 0
    assert [path.name for path in pod.root.glob("imported-*")] == []
    assert "Traceback" not in pod.logs


def test_a_failing_pre_start_does_not_end_the_container(boot: Boot) -> None:
    broken = "#!/bin/sh\nset -e\nfalse\n"
    pod = boot(
        RUN_BOOTSTRAP_ON_START="0",
        JUPYTER_TOKEN=TOKEN,
        prepare=lambda root: (root / "pre_start.sh").write_text(broken),
    )
    wait_for_jupyter(pod)
    assert "pre_start" in pod.logs
    assert pod.is_running


def test_a_first_boot_fetches_musubi_tuner_and_a_second_container_makes_its_own_environment(
    boot: Boot, world: World, volume: Path
) -> None:
    from musabi.pod.bootstrap.state import bootstrap_status
    from musabi.workspace import Workspace

    def bootstrapped() -> dict[str, str] | None:
        status = bootstrap_status(Workspace(volume))
        if status is None or status.get("state") != "done":
            return None
        return {name: stage["state"] for name, stage in status["stages"].items()}

    first = boot(net=world.net, JUPYTER_TOKEN=TOKEN, **world.environment)
    wait_for_jupyter(first)
    assert set(first.wait(bootstrapped, 120).values()) == {"done"}
    trainer = first.exec(
        "/workspace/musubi-tuner/.venv/bin/python", "-c", "import torch; print(torch.__version__)"
    )
    assert trainer.stdout.strip() == "2.9.1+cpu"
    first.kill()
    (volume / ".musabi/bootstrap.json").stat()
    second = boot(net=world.net, JUPYTER_TOKEN=TOKEN, **world.environment)
    wait_for_jupyter(second)
    states = second.wait(lambda: (found := bootstrapped()) and "running" not in found.values() and found, 120)
    assert states["environment"] == "done" and states["weights"] == "skipped" and states["clone"] == "skipped"
