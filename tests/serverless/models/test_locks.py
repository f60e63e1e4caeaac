"""Who uses which models, and whose turn it is."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from musabi.children import Cancelled
from musabi.identity import identity
from musabi.serverless.models.locks import Pace, held, holding, turn

QUICK = Pace(beat_s=0.05, patience_s=0.6)
NEVER = threading.Event()


def write_hold(folder: Path, name: str, **more: Any) -> Path:
    place = folder / "holds" / f"{name}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    about = {"units": [name], "identity": "another boot 1", "pid": 1, "pid_started": 1.0, "beat": 0}
    place.write_text(json.dumps(about | more))
    return place


def test_what_a_job_uses_is_held_until_it_ends(tmp_path: Path) -> None:
    with holding(tmp_path, {"vae", "dit"}, QUICK), holding(tmp_path, {"dit"}, QUICK):
        assert held(tmp_path, cancel=NEVER, pace=QUICK) == {"vae", "dit"}
    assert held(tmp_path, cancel=NEVER, pace=QUICK) == set()
    assert list((tmp_path / "holds").iterdir()) == []


def test_a_hold_of_a_process_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from musabi.serverless.models.locks import holding\n"
        "with holding(Path(sys.argv[1]), {'dit'}): print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None and child.stdout.readline() == b"held\n"
        assert held(tmp_path, cancel=NEVER, pace=QUICK) == {"dit"}
    finally:
        child.kill()
        child.wait()
    began = time.monotonic()
    assert held(tmp_path, cancel=NEVER, pace=Pace(patience_s=30)) == set()
    assert time.monotonic() - began < 5, "a process of this container is looked up, not watched"
    assert list((tmp_path / "holds").iterdir()) == []


def test_another_containers_hold_counts_while_its_counter_is_raised(tmp_path: Path) -> None:
    dead = write_hold(tmp_path, "dead")
    live = write_hold(tmp_path, "live")
    over = threading.Event()

    def beat() -> None:
        count = 0
        while not over.wait(0.1):
            count += 1
            part = live.with_suffix(".part")
            part.write_text(json.dumps(json.loads(live.read_text()) | {"beat": count}))
            part.replace(live)

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        assert held(tmp_path, cancel=NEVER, pace=QUICK) == {"live"}
    finally:
        over.set()
        heart.join()
    assert not dead.exists()


def test_an_earlier_container_of_this_very_pod_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNPOD_POD_ID", "pod")
    write_hold(tmp_path, "dit", identity="pod another-boot 1")
    began = time.monotonic()
    assert held(tmp_path, cancel=NEVER, pace=Pace(patience_s=30)) == set()
    assert time.monotonic() - began < 5
    assert identity().startswith("pod ")


def test_watching_ends_when_the_job_is_called_off(tmp_path: Path) -> None:
    write_hold(tmp_path, "dit")
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        held(tmp_path, cancel=cancel, pace=Pace(patience_s=30))


def test_one_at_a_time_is_at_work_on_a_unit(tmp_path: Path) -> None:
    said: list[str] = []
    order: list[str] = []
    first = turn(tmp_path, "diffusion-pipe/FLUX.1-dev", say=said.append, cancel=NEVER, pace=QUICK)
    code = (
        "import sys, threading; from pathlib import Path; from musabi.serverless.models.locks import turn\n"
        "with turn(Path(sys.argv[1]), 'diffusion-pipe/FLUX.1-dev', say=print, cancel=threading.Event()):\n"
        "    print('second')"
    )
    with first as require_held:
        child = subprocess.Popen(
            [sys.executable, "-u", "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        order += [child.stdout.readline().strip(), "first"]
        require_held()
        with turn(tmp_path, "another", say=said.append, cancel=NEVER, pace=QUICK):
            pass
    order.append(child.communicate(timeout=20)[0].strip())
    waits = "Another worker is at work on diffusion-pipe/FLUX.1-dev; waiting for it"
    assert order == [waits, "first", "second"]
    assert said == []
