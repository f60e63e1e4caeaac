"""Whether the pod is used: each sign of use, on real kernels, terminals, files and counters."""

import json
import os
import pty
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jupyter_client import BlockingKernelClient

from musabi.pod.bootstrap.state import volume_state
from musabi.pod.stopping.activity import Activity, bytes_moved
from musabi.pod.stopping.gpu import GpuLook
from musabi.pod.stopping.visitors import files_changed, jupyter_use, keys_typed

from .conftest import PodFolder, wait_for

TOKEN = "jupytersecrettoken123"
HEAD = "Inter-|   Receive |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n"


class StandInGpu(GpuLook):
    """A GPU that is as busy as the test says."""

    def __init__(self, percent: int | None) -> None:
        self.percent = percent

    def busiest(self) -> int | None:
        return self.percent


@pytest.fixture
def quiet(pod: PodFolder) -> Iterator[dict[str, Any]]:
    """What `Activity` is given so that nothing of this machine is seen."""
    (pod.root / "pts").mkdir()
    (pod.root / "net").write_text(HEAD)
    return {"gpu": StandInGpu(None), "terminals": pod.root / "pts", "net_dev": pod.root / "net"}


def test_an_empty_pod_is_unused(pod: PodFolder, quiet: dict[str, Any]) -> None:
    assert Activity(pod.settings, **quiet).look() is None


def test_a_run_is_use_and_a_dead_one_is_not(pod: PodFolder, quiet: dict[str, Any]) -> None:
    activity = Activity(pod.settings, **quiet)
    pod.add_run(pid=2**22 + 1)
    assert activity.look() is None
    run = pod.add_run()
    use = activity.look()
    assert use is not None and use.doing == f"{run.path.name} is running"
    assert abs(use.last - time.time()) < 5


def test_a_bootstrap_is_use_and_a_finished_one_is_not(pod: PodFolder, quiet: dict[str, Any]) -> None:
    state = volume_state(pod.settings.space)
    state.start_run("musubi", ["weights"])
    activity = Activity(pod.settings, **quiet)
    use = activity.look()
    assert use is not None and use.doing == "the bootstrap is running"
    state.end_run("done")
    assert activity.look() is None


def test_a_sign_that_can_not_be_read_does_not_hide_the_others(pod: PodFolder, quiet: dict[str, Any]) -> None:
    (pod.settings.space.state).mkdir(parents=True)
    (pod.settings.space.state / "bootstrap.json").write_text('{"run": 5, "stages": []}')
    run = pod.add_run()
    activity = Activity(pod.settings, **quiet)
    assert doing(activity) == f"{run.path.name} is running"
    assert any("bootstrap" in trouble for trouble in activity.troubles)


@pytest.mark.parametrize(("percent", "used"), [(None, False), (0, False), (5, False), (6, True), (100, True)])
def test_a_busy_gpu_is_use(pod: PodFolder, quiet: dict[str, Any], percent: int | None, used: bool) -> None:
    quiet["gpu"] = StandInGpu(percent)
    assert (Activity(pod.settings, **quiet).look() is not None) == used


def test_without_a_driver_no_gpu_says_anything() -> None:
    assert GpuLook("libnothing-of-that-name.so.1").busiest() is None


def test_a_download_is_use_and_the_questions_of_an_open_tab_are_not(
    pod: PodFolder, quiet: dict[str, Any]
) -> None:
    activity = Activity(pod.settings, now=pod.clock.now, **quiet)
    pod.clock.time = time.time()
    net: Path = quiet["net_dev"]
    for received, used in ((0, False), (15 * 2_000, False), (15 * 5_000_000, True), (15 * 5_000_000, False)):
        net.write_text(
            f"{HEAD}    lo: 999999999999 0 0 0 0 0 0 0 999 0\n  eth0: {received} 0 0 0 0 0 0 0 100 0\n"
        )
        use = activity.look()
        assert (use is not None) == used
        pod.clock.time += 15
    assert bytes_moved(net) == 15 * 5_000_000 + 100


def test_files_that_a_person_writes_are_use(pod: PodFolder, quiet: dict[str, Any]) -> None:
    activity = Activity(pod.settings, **quiet)
    captions = pod.settings.workspace / "dataset" / "images"
    captions.mkdir(parents=True)
    (captions / "one.txt").write_text("a cat")
    use = activity.look()
    assert use is not None and use.doing == "files were changed"
    long_ago = time.time() - 9000
    for path in (captions / "one.txt", captions, captions.parent):
        os.utime(path, (long_ago, long_ago))
    assert files_changed((pod.settings.workspace / "dataset",)) == pytest.approx(long_ago)
    os.utime(captions / "one.txt", (time.time() + 9000,) * 2)
    assert activity.look() is None


@pytest.mark.slow
def test_typing_at_a_terminal_is_use_and_its_output_is_not(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    (tmp_path / "0").symlink_to(os.ttyname(theirs))
    with subprocess.Popen(["cat"], stdin=theirs, stdout=theirs) as reader:
        try:
            os.write(ours, b"first\n")
            time.sleep(9)  # the kernel notes these times to within 8 s
            before = keys_typed(tmp_path)
            os.write(theirs, b"a program says something\n")
            time.sleep(0.5)
            assert keys_typed(tmp_path) == before
            os.write(ours, b"second\n")
            wait_for(lambda: (keys_typed(tmp_path) or 0) > (before or 0))
            typed = keys_typed(tmp_path)
            assert typed is not None and time.time() - typed < 10
        finally:
            reader.kill()
            os.close(theirs)
            os.close(ours)


@dataclass
class Jupyter:
    port: int

    def ask(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {TOKEN}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - loopback
            return json.loads(response.read() or b"null")


@contextmanager
def running_jupyter(folder: Path) -> Iterator[Jupyter]:
    """Yield a real Jupyter server on loopback."""
    folder.mkdir(parents=True, exist_ok=True)
    port_file = folder / "port"
    code = (
        "import sys\n"
        "from jupyter_server.serverapp import ServerApp\n"
        "class App(ServerApp):\n"
        "    def start(self):\n"
        "        open(sys.argv[-1], 'w').write(str(self.port))\n"
        "        super().start()\n"
        "App.launch_instance(argv=['--no-browser', '--allow-root', '--ip=127.0.0.1', '--port=0'])\n"
    )
    environ = os.environ | {
        "JUPYTER_TOKEN": TOKEN,
        "HOME": str(folder),
        "JUPYTER_RUNTIME_DIR": str(folder / "run"),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(port_file)],
            cwd=folder,
            env=environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(lambda: port_file.exists() and port_file.read_text(), 60)
        jupyter = Jupyter(int(port_file.read_text()))
        wait_for(lambda: answers(jupyter), 60)
        yield jupyter
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        finally:
            if process.poll() is None:
                process.kill()


def answers(jupyter: Jupyter) -> bool:
    try:
        return bool(jupyter.ask("/api/status"))
    except OSError:
        return False


def doing(activity: Activity) -> str | None:
    use = activity.look()
    return use.doing if use else None


def is_ready(client: BlockingKernelClient) -> bool:
    """Tell whether the kernel answers; one that is only just starting counts as dead there."""
    try:
        client.wait_for_ready(timeout=10)
    except RuntimeError:
        return False
    return True


@pytest.mark.slow
def test_a_kernel_that_works_is_use_and_an_open_tab_is_not(pod: PodFolder, quiet: dict[str, Any]) -> None:
    with running_jupyter(pod.root / "jupyter") as jupyter:
        pod.environ["JUPYTER_PORT"] = str(jupyter.port)
        pod.places.root.mkdir(parents=True)
        pod.places.token.write_text(TOKEN)
        activity = Activity(pod.settings, **quiet)
        assert activity.look() is None

        kernel = jupyter.ask("/api/kernels", {"name": "python3"})["id"]
        connection = next((pod.root / "jupyter").rglob(f"kernel-{kernel}.json"))
        client = BlockingKernelClient(connection_file=str(connection))
        client.load_connection_file()
        client.start_channels()
        try:
            wait_for(lambda: is_ready(client), 60)
            client.execute("import time; time.sleep(6)")
            wait_for(lambda: doing(activity) == "a notebook is running")
            wait_for(lambda: doing(activity) == "a notebook was used", 30)
            idle = activity.look()
            before = jupyter.ask("/api/status")["last_activity"]
            for _ in range(3):  # what an open tab asks for, every ten seconds
                for path in ("/api/kernels", "/api/sessions", "/api/terminals", "/api/contents"):
                    jupyter.ask(path)
                time.sleep(1)
            assert jupyter.ask("/api/status")["last_activity"] > before
            assert activity.look() == idle
        finally:
            client.stop_channels()
        tab_only = jupyter.ask("/api/status")["last_activity"]
        activity.look()
        assert jupyter.ask("/api/status")["last_activity"] == tab_only


def test_a_jupyter_that_is_not_there_or_asks_for_another_token_is_no_use(pod: PodFolder) -> None:
    assert jupyter_use(1, None, time.time()) is None
    with running_jupyter(pod.root / "jupyter") as jupyter:
        jupyter.ask("/api/kernels", {"name": "python3"})
        assert jupyter_use(jupyter.port, "wrong", time.time()) is None
        assert jupyter_use(jupyter.port, TOKEN, time.time()) is not None


STAND_IN_NVML = """
typedef struct { unsigned int gpu, memory; } use_t;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) { *device = (void *)(long)(index + 1); return 0; }
int nvmlDeviceGetUtilizationRates(void *device, use_t *use) {
    if ((long)device == 3) return 3; /* not supported, as on a GPU that MIG splits */
    use->gpu = (long)device == 2 ? 42 : 7; use->memory = 99;
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="a stand-in of the driver's library needs gcc")
def test_the_busiest_of_the_gpus_counts(tmp_path: Path) -> None:
    (tmp_path / "standin_nvml.c").write_text(STAND_IN_NVML)
    library = tmp_path / "libstandin-nvml.so"
    build = ["gcc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "standin_nvml.c")]
    subprocess.run(build, check=True, timeout=60)
    assert GpuLook(str(library)).busiest() == 42
