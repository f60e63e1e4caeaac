"""The target `cpu`: the whole way without a GPU, in the container that a pod would be."""

from collections.abc import Callable
from pathlib import Path

import pytest

from image.container import Container
from image.store import Store
from musabi.job.record import runs
from musabi.workspace import Workspace

pytestmark = [pytest.mark.full, pytest.mark.xdist_group("image")]

TRAIN = "/workspace/scripts/train_lora_prodigy.sh"
SETTINGS = {
    "NETWORK_DIM": "4",
    "NETWORK_ALPHA": "4",
    "MAX_TRAIN_EPOCHS": "500",
    "SAVE_EVERY_N_EPOCHS": "100",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def cpu(store: Store, context: Path) -> str:
    return store.build(context, "cpu")


def test_a_training_in_the_container_saves_when_the_container_is_stopped(
    boot: Callable[..., Container], cpu: str, volume: Path
) -> None:
    pod = boot(image=cpu, **SETTINGS)
    pod.wait(lambda: (volume / ".musubi_bootstrap_done").exists())
    for verb in (("models", "make-tiny", "--demo-data"), ("prepare",)):
        done = pod.exec("musabi", *verb, limit_s=300)
        assert done.returncode == 0, done.stdout + done.stderr
    before = {run.path for run in runs(Workspace(volume).runs)}
    pod.exec("sh", "-c", f"{TRAIN} >/workspace/train.log 2>&1 &")
    run = pod.wait(lambda: [run for run in runs(Workspace(volume).runs) if run.path not in before], 120)[0]
    pod.wait(lambda: '"step": 3' in run.events_file.read_text(), 120)
    assert pod.stop() < 5
    assert run.load().state == "stopped", (volume / "train.log").read_text()
    again = boot(image=cpu, **SETTINGS)
    again.wait(lambda: again.exec("musabi", "health").returncode == 0)
    asked = again.exec("musabi", "train", "--optimizer", "prodigy", "--continue", "--dry-run", limit_s=120)
    assert asked.returncode == 0, asked.stdout + asked.stderr
