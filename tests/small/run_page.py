"""The page of one run, asked as a browser asks it, on a workspace that a test made."""

from pathlib import Path
from typing import Any

from musabi.pod.places import PodPlaces
from musabi.settings import load
from musabi.watch.page.compare import COMPARE
from musabi.watch.page.run import RUN
from musabi.watch.page.scene import Scene
from small.page import KEY, Browser


def scene_at(root: Path, **environ: str) -> Scene:
    """Return the scene of a workspace; more variables by name."""
    known = {"WORKSPACE": str(root), "MUSABI_STATE_DIR": str(root / ".state")}
    return Scene(load(known), PodPlaces(root / ".state"), known | environ, KEY, login=False)


def browser_at(root: Path, **environ: str) -> Any:
    """Return a browser that looks at a workspace's runs."""
    return Browser(scene_at(root, **environ), (RUN, COMPARE))


def fill(world: Any, prompts: int = 2) -> Any:
    """Add small samples of six moments and five checkpoints, the last of them converted, to a workspace's run."""
    files = []
    for epoch in range(0, 11, 2):
        for prompt in range(prompts):
            name = f"ohwx_v1_e{epoch:06d}_{prompt:02d}_20251009091500_42_000.png"
            files.append(world.add_sample(name, epoch * 10 + prompt, (32, 32)))
        if 0 < epoch < 10:
            files.append(world.add_checkpoint(f"ohwx_v1-{epoch:06d}", epoch * 100))
    files += [world.add_checkpoint("ohwx_v1", 1700), world.add_checkpoint("ohwx_v1", 1750, kind="converted")]
    world.record(files=files)
    return world
