"""What follows a run that nobody looks on at: its results are published, then the pod is stopped."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from musabi.job.events import read
from musabi.job.marked import end_marked
from musabi.job.publishing import destination_of, unpublished_run
from musabi.job.record import newest_run
from peers.loopback_runpod import KEY, POD, LoopbackRunpod, running_runpod
from small.space import Space

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("commands")]


@pytest.fixture
def runpod() -> Iterator[LoopbackRunpod]:
    with running_runpod() as peer:
        yield peer
        end_marked("RUNPOD_REST_URL", peer.url, 2)  # runs that wait for their pod, which never goes away here


def on_a_pod(peer: LoopbackRunpod, tmp_path: Path, **more: str) -> dict[str, str]:
    """Return the variables of a pod that stops two seconds after a run is done."""
    return {
        "RUNPOD_REST_URL": peer.url,
        "RUNPOD_API_KEY": KEY,
        "RUNPOD_POD_ID": POD,
        "STOP_COUNTDOWN": "2",
        "MUSABI_STATE_DIR": str(tmp_path / "state"),
    } | more


def said_after(space: Space) -> str:
    folder = newest_run(space.root / "runs")
    assert folder is not None
    return "\n".join(event.message or "" for event in read(folder.events_file) if event.phase == "after")


def wait_for_stop(peer: LoopbackRunpod, seconds: float = 60) -> list[tuple[str, str]]:
    deadline = time.monotonic() + seconds
    while not peer.stops and time.monotonic() < deadline:
        time.sleep(0.2)
    return peer.stops


def test_a_finished_run_is_published_and_then_stops_the_pod(
    space: Space, runpod: LoopbackRunpod, tmp_path: Path
) -> None:
    target = tmp_path / "results"
    pod = on_a_pod(runpod, tmp_path, ON_FINISH="stop", PUBLISH_TO=str(target))
    printed = space.ok("train", "--epochs", "1", **pod)
    assert f"publish to {target}" in printed and "ON_FINISH: stop this pod" in printed
    assert wait_for_stop(runpod) == [("POST", f"/pods/{POD}/stop")]
    assert (target / "demo.safetensors").is_file() and (target / "README.md").is_file()
    said = said_after(space)
    assert said.index("Published to") < said.index("This pod will be stopped in 2 s")
    assert KEY not in said


def test_what_could_not_be_published_is_not_deleted_with_the_pod(
    space: Space, runpod: LoopbackRunpod, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    pod = on_a_pod(runpod, tmp_path, ON_FINISH="delete", PUBLISH_TO=str(tmp_path / "file" / "results"))
    space.ok("train", "--epochs", "1", **pod)
    assert wait_for_stop(runpod) == [("POST", f"/pods/{POD}/stop")]
    said = said_after(space)
    assert "Publishing failed" in said and "stopped and not deleted" in said
    assert unpublished_run(space.root / "runs") is not None
    run = newest_run(space.root / "runs")
    assert run is not None and destination_of(run, None) == str(tmp_path / "file" / "results")
    space.ok("publish", run.path.name, "--to", str(tmp_path / "results"))
    assert unpublished_run(space.root / "runs") is None


def test_a_full_disk_does_not_keep_a_failed_run_from_stopping_the_pod(
    space: Space, runpod: LoopbackRunpod, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way, as a full disk is")
    code = """
import os, sys
from pathlib import Path
from musabi.commands.ending import at_the_end
from musabi.job.record import RunFolder, RunState
from musabi.settings import load
at_the_end(load(os.environ), None)(RunFolder(Path(sys.argv[1])), RunState.FAILED)
"""
    pod = on_a_pod(runpod, tmp_path, ON_ERROR="stop", WORKSPACE=str(space.root))
    nowhere = str(tmp_path / "file" / "run")
    runner = subprocess.Popen([sys.executable, "-c", code, nowhere], env=space.environment | pod)
    try:
        assert wait_for_stop(runpod) == [("POST", f"/pods/{POD}/stop")]
    finally:
        runner.kill()
        runner.wait()


def test_a_destination_that_cannot_be_right_is_found_before_the_run(space: Space, tmp_path: Path) -> None:
    code, message = space.refused("train", PUBLISH_TO="ftp://example.org/x")
    assert code == 2 and "no destination" in message
    code, message = space.refused(
        "train", PUBLISH_TO="hf:me/lora", HF_TOKEN="", HF_TOKEN_PATH=str(tmp_path / "no")
    )
    assert code == 2 and "token" in message
    assert newest_run(space.root / "runs") is None
