"""A small dataset of one drawn character, its dataset TOML and its prompts, for the demo and for tests."""

import random
from pathlib import Path

from musabi.engines.diffusers.drawings import TRIGGER, draw_robot
from musabi.whole import replacing, write_text
from musabi.workspace import Workspace

IMAGES = 12
SIDE = 128
PROMPTS = (
    f"{TRIGGER} on a blue background",
    f"{TRIGGER} on a yellow background",
    "a red circle on a white background",
)

TOML = """\
# The demo's drawn pictures. `musabi check` looks at them before anything is trained.

[general]
resolution = [{side}, {side}]
caption_extension = ".txt"
batch_size = 2
enable_bucket = true
bucket_no_upscale = false

[[datasets]]
image_directory = "{images}"
cache_directory = "{cache}"
num_repeats = 1
"""


def make_demo_dataset(workspace: Workspace, *, seed: int) -> None:
    """Draw 12 pictures of 128 x 128 pixels with captions, and write dataset.toml and sample_prompts.txt.

    Does nothing where the image folder has anything in it. A TOML and prompts that are there already are
    kept beside the new ones, with `.before-demo` at the end of their names.
    """
    if any(workspace.images.glob("*")):
        return
    toml = TOML.format(side=SIDE, images=workspace.images.absolute(), cache=workspace.cache.absolute())
    _replace(workspace.dataset_config, toml)
    _replace(workspace.sample_prompts, prompts())
    draw_dataset(workspace.images, seed=seed, count=IMAGES, side=SIDE)


def prompts() -> str:
    """Return the demo's prompt file: few steps, as small as the pictures."""
    flags = f"--w {SIDE} --h {SIDE} --s 20 --l 1"
    return "".join(f"{prompt} {flags} --d {41 + i}\n" for i, prompt in enumerate(PROMPTS, start=1))


def draw_dataset(folder: Path, *, seed: int, count: int, side: int) -> None:
    """Draw `count` pictures of side x side pixels into `folder`, each with its caption file."""
    rng = random.Random(seed)  # noqa: S311 - pictures, no secrets
    for number in range(1, count + 1):
        image, caption = draw_robot(rng, side)
        write_text(folder / f"robot_{number:02d}.txt", caption + "\n")
        with replacing(folder / f"robot_{number:02d}.png") as part:
            image.save(part, format="PNG")


def _replace(path: Path, text: str) -> None:
    if path.exists() and path.read_text(encoding="utf-8") != text:
        path.replace(path.with_name(path.name + ".before-demo"))
    write_text(path, text)
