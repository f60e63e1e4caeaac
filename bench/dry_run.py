"""How soon the plan is printed: `musabi train --dry-run` on 40 images, median of several runs.

python bench/dry_run.py [RUNS]: makes a workspace of its own. No trainer and no weights are needed for a plan.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

PROGRAM = Path(sys.executable).parent / "musabi"
IMAGES = 40
SIDE = 512


def main() -> None:
    """Print the median, the fastest and the slowest start in seconds."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as folder:
        workspace = make_workspace(Path(folder))
        environment = os.environ | {
            "WORKSPACE": str(workspace),
            "DATASET_CONFIG": str(workspace / "my-lora" / "dataset.toml"),
        }
        seconds = []
        for _ in range(runs + 1):
            begun = time.monotonic()
            subprocess.run(
                [PROGRAM, "train", "--dry-run"], check=True, stdout=subprocess.DEVNULL, env=environment
            )
            seconds.append(time.monotonic() - begun)
    warm = seconds[1:]
    spread = f"{min(warm):.2f} to {max(warm):.2f} s"
    print(f"dry run: median {statistics.median(warm):.2f} s, {spread}, {runs} runs")


def make_workspace(folder: Path) -> Path:
    """Return a workspace with a dataset of Z-Image: images of one colour, each with a caption."""
    subprocess.run(
        [PROGRAM, "init", "z-image", str(folder / "my-lora")], check=True, stdout=subprocess.DEVNULL
    )
    images = folder / "my-lora" / "images"
    images.mkdir(exist_ok=True)
    for number in range(IMAGES):
        shade = (number * 6, 120, 255 - number * 6)
        Image.new("RGB", (SIDE, SIDE), shade).save(images / f"{number:03d}.png")
        (images / f"{number:03d}.txt").write_text(f"a colour, number {number}\n", encoding="utf-8")
    return folder


if __name__ == "__main__":
    main()
