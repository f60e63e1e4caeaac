"""After a boot with marked secrets: they are nowhere but in the environment and in files that are locked away."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from image.container import Container
from image.world import World
from musabi.pod.bootstrap.state import bootstrap_status
from musabi.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]

NAMES = (
    "HF_TOKEN",
    "JUPYTER_TOKEN",
    "JUPYTER_PASSWORD",
    "RUNPOD_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "WANDB_API_KEY",
)
SECRETS = {name: f"marked_{name.lower()}_c0ffee{number}" for number, name in enumerate(NAMES)}
VERBS = (("status",), ("health",), ("doctor", "--json"), ("bootstrap", "--json"))


def files_with(folder: Path, secret: str) -> list[Path]:
    argv = ["grep", "--recursive", "--files-with-matches", "--fixed-strings", "--", secret, str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    return [Path(line) for line in done.stdout.splitlines()]


def add_dataset(volume: Path) -> None:
    for number in range(2):
        path = volume / "dataset" / "images" / f"{number}.png"
        Image.new("RGB", (64, 64), (number * 90, 40, 90)).save(path)
        path.with_suffix(".txt").write_text("a square")


def test_no_secret_is_in_a_log_a_command_line_or_on_the_volume(
    boot: Callable[..., Container], world: World, volume: Path
) -> None:
    pod = boot(net=world.net, AUTO_START_TENSORBOARD="1", **SECRETS, **world.environment)
    lines: set[str] = set()

    def done() -> bool:
        lines.update(" ".join(process.argv) for process in pod.processes)
        status = bootstrap_status(Workspace(volume))
        return status is not None and status["state"] == "done"

    pod.wait(done, 120)
    signed_in = {"Authorization": f"token {SECRETS['JUPYTER_TOKEN']}"}
    pod.wait(lambda: pod.get(8888, "/api/status", signed_in)[0] == 200)
    add_dataset(volume)
    pod.exec("/workspace/scripts/prepare_dataset.sh")
    assert list((volume / "runs").glob("*/record.json")), "a run was recorded"
    said = "".join((answer := pod.exec("musabi", *verb)).stdout + answer.stderr for verb in VERBS)
    done()
    # A container's variables are its first process's; the children do without JupyterLab's token.
    knowing = {
        " ".join(process.argv)
        for process in pod.processes
        for name in ("JUPYTER_TOKEN", "JUPYTER_PASSWORD")
        if process.pid != 1 and SECRETS[name] in process.environment.values()
    }
    assert knowing == set()
    assert pod.stop() < 5
    assert len(lines) > 3
    for name, secret in SECRETS.items():
        assert secret not in pod.logs, name
        assert secret not in said, name
        assert [line for line in lines if secret in line] == [], name
        assert files_with(volume, secret) == [], name
        for folder in ("opt/musabi/state", "etc", "root", "tmp", "var", "run"):
            for path in files_with(pod.root / folder, secret):
                assert path.is_relative_to(pod.root / "opt/musabi/state/pod"), (name, path)
                assert path.stat().st_mode & 0o077 == 0, (name, path)
