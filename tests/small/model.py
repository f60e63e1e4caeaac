"""The small model, the drawn dataset and the settings that tests train with; made once a session."""

import random
from pathlib import Path

import pytest

SEED = 42
TOML = """\
[general]
resolution = [64, 64]
caption_extension = ".txt"
batch_size = 2
enable_bucket = true

[[datasets]]
image_directory = "{images}"
cache_directory = "{cache}"
"""

PROMPT = "ohwx robot on a blue background --w 64 --h 64 --s 2 --l 1 --d 42\n"
SMALL = {
    "ENGINE": "diffusers",
    "OUTPUT_NAME": "demo",
    "NETWORK_DIM": "4",
    "NETWORK_ALPHA": "4",
    "MAX_TRAIN_EPOCHS": "2",
    "SAVE_EVERY_N_EPOCHS": "1",
    "OMP_NUM_THREADS": "1",
}


def make_small_model(models: Path, hf_home: Path) -> None:
    """Write a small model whose base was fitted for a few steps only."""
    import torch

    from musabi.engines.diffusers import make_tiny

    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_tiny, "STEPS", 6)
        patch.setattr(make_tiny, "PICTURES", 40)
        patch.setattr(make_tiny, "SIDE", 64)
        make_tiny.make_tiny(models, hf_home, seed=SEED, say=lambda text: None)


def draw_images(images: Path) -> None:
    """Draw five pictures in two shapes, with captions: three batches of two."""
    from musabi.engines.diffusers import drawings

    rng = random.Random(SEED)  # noqa: S311 - drawings, not secrets
    images.mkdir(parents=True)
    for number in range(5):
        picture, caption = drawings.draw_robot(rng, 64)
        if number >= 3:
            picture = picture.crop((0, 16, 64, 48))
        picture.save(images / f"robot{number}.png")
        (images / f"robot{number}.txt").write_text(caption + " smiling" * number)
