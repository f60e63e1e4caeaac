"""A first boot that is ended at any moment: the next container on the same volume goes on from there."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from image.container import Container
from image.world import World
from musabi.pod.bootstrap.state import bootstrap_status
from musabi.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]

MOMENTS = [round(0.2 * number, 1) for number in range(1, 21)]
# Played without --full: before the bootstrap, in it, and as it ends.
SHORT = (0.4, 1.8, 2.6)
LIMIT_SECONDS = 120.0
GRACE_SECONDS = 5.0


def ended(volume: Path) -> dict[str, Any] | None:
    status = bootstrap_status(Workspace(volume))
    return status if status is not None and status["state"] in ("done", "failed") else None


def require_whole(world: World, volume: Path) -> None:
    """Check that every weight file which has its final name has its final content."""
    contents: dict[str, bytes] = {}
    for repo in world.hub.repos.values():
        contents |= {Path(path).name: content for path, content in repo.files.items()}
    weights = [path for path in (volume / "models").glob("*/*.safetensors") if path.parent.name[0] != "."]
    assert all(path.read_bytes() == contents[path.name] for path in weights)


@pytest.mark.parametrize("how", ["stopped", "killed"])
@pytest.mark.parametrize(
    "moment", [pytest.param(at, marks=() if at in SHORT else pytest.mark.full) for at in MOMENTS]
)
def test_a_boot_that_is_ended_at_any_moment_is_made_good_by_the_next(
    boot: Callable[..., Container], world: World, volume: Path, moment: float, how: str
) -> None:
    first = boot(net=world.net, **world.environment)
    time.sleep(moment)
    if how == "stopped":
        assert first.stop() < GRACE_SECONDS
    else:
        first.kill()
    require_whole(world, volume)
    second = boot(net=world.net, **world.environment)
    second.wait(lambda: second.exec("musabi", "health").returncode == 0)
    status = second.wait(lambda: ended(volume), LIMIT_SECONDS)
    # The first container's end state may be read before the second one's bootstrap has begun.
    second.wait(lambda: (volume / ".musubi_bootstrap_done").exists(), LIMIT_SECONDS)
    assert status["state"] == "done", status
    trainer = second.exec(
        "/workspace/musubi-tuner/.venv/bin/python", "-c", "import torch, torchvision, musubi_tuner"
    )
    assert trainer.returncode == 0, trainer.stderr
    leftovers = [path.name for path in volume.rglob("*.part")]
    assert leftovers == []
