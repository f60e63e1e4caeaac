"""The lock of a volume: turns are taken, and a dead holder keeps nothing."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from musabi.children import Cancelled
from musabi.errors import MachineError
from musabi.pod.bootstrap.lock import VolumeLock, filesystem_of
from musabi.whole import write_json

HOLD = """
import sys, time
from pathlib import Path
from musabi.pod.bootstrap.lock import VolumeLock
with VolumeLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_take_turns(tmp_path: Path) -> None:
    order: list[str] = []
    said: list[str] = []

    def second() -> None:
        with VolumeLock(tmp_path, say=said.append):
            order.append("second")

    with VolumeLock(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.6)
        order.append("first")
    thread.join(timeout=5)
    assert order == ["first", "second"]
    assert len(said) == 1 and "another bootstrap" in said[0]


def test_a_killed_holder_keeps_nothing(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    began = time.monotonic()
    with VolumeLock(tmp_path, local=False):
        assert time.monotonic() - began < 3


def foreign_owner(folder: Path, beat: int) -> None:
    about = {"id": "other", "beat": beat, "identity": "elsewhere boot pid:[1]", "pid": 1, "pid_started": 5.0}
    write_json(folder / "bootstrap.owner.json", about)


def test_a_holder_on_another_host_is_waited_for_while_it_beats(tmp_path: Path) -> None:
    over = threading.Event()

    def beat() -> None:
        for number in range(1, 6):
            foreign_owner(tmp_path, number)
            over.wait(0.3)

    foreign_owner(tmp_path, 0)
    heart = threading.Thread(target=beat)
    heart.start()
    began = time.monotonic()
    with VolumeLock(tmp_path, local=False, beat_s=0.2, patience_s=1.0):
        took = time.monotonic() - began
    heart.join()
    assert 2.0 < took < 6


def test_on_a_local_disk_the_kernel_alone_decides(tmp_path: Path) -> None:
    foreign_owner(tmp_path, 0)
    began = time.monotonic()
    with VolumeLock(tmp_path, local=True):
        assert time.monotonic() - began < 1


def test_a_holder_that_was_overtaken_notices(tmp_path: Path) -> None:
    with VolumeLock(tmp_path, local=False, beat_s=0.1, patience_s=0.5) as lock:
        lock.require_held()
        foreign_owner(tmp_path, 1)
        time.sleep(0.5)
        with pytest.raises(MachineError, match="took this volume's bootstrap over"):
            lock.require_held()


def test_waiting_can_be_called_off(tmp_path: Path) -> None:
    cancel = threading.Event()
    with VolumeLock(tmp_path):
        threading.Timer(0.3, cancel.set).start()
        with pytest.raises(Cancelled), VolumeLock(tmp_path, cancel=cancel):
            pass


def test_a_filesystem_is_known_by_its_mount() -> None:
    assert filesystem_of(Path("/proc/self")) == "proc"


def test_two_bootstraps_at_once_take_turns(pod: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from musabi.pod.bootstrap.run import bootstrap

    pod.hub.bytes_per_second = 1_000_000
    codes: list[int] = []
    threads = [
        threading.Thread(
            target=lambda name=name: codes.append(
                bootstrap(pod.machine(name), profile="diffusers", json=True, weights=True)
            )
        )
        for name in ("one", "two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=180)
    assert codes == [0, 0]
    assert len(pod.hub.bodies("ae.safetensors")) == 1
