"""How fast `musabi check` decodes a dataset, against a one-process Pillow loop of verify() and load().

python bench/check.py [--images N] [--rounds N] [--folder DIR]: draws N different JPEGs of 1024 pixels, seeded,
then times both in turn and prints the medians, their ratio, and how memory grew while checking.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from musabi.dataset.check import check
from musabi.dataset.config import read_config
from musabi.dataset.remembered import NAME

SIDE = 1024
DRAWN = 200
"""Pictures that are drawn anew; the others are these, cut and lit differently."""
GRAIN = ((4, 60), (16, 35), (64, 20), (256, 10), (1024, 6))
"""Sizes of random noise and how strong each is, as in photographs: the finer, the weaker."""


def main() -> None:
    """Draw, time both in turn, print."""
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--images", type=int, default=10_000)
    wanted.add_argument("--rounds", type=int, default=3)
    wanted.add_argument("--folder", type=Path, default=None, help="kept, and used again if it is there")
    wanted.add_argument("--memory-of", type=Path, default=None, help=argparse.SUPPRESS)
    options = wanted.parse_args()
    if options.memory_of:
        print(grown(options.memory_of))
        return
    with tempfile.TemporaryDirectory() as temporary:
        toml = draw(options.folder or Path(temporary), options.images)
        compare(toml, options.images, options.rounds)


def compare(toml: Path, images: int, rounds: int) -> None:
    """Time the loop and the check in turn, each first every other round, and print what came of it."""
    files = sorted((toml.parent / "images").glob("*.jpg"))[:images]
    loop, checked = [], []
    for number in range(rounds):
        pair: list[tuple[list[float], Callable[[], object]]] = [
            (loop, lambda: verify_and_load(files)),
            (checked, lambda: check_anew(toml)),
        ]
        for seconds, work in pair if number % 2 == 0 else reversed(pair):
            seconds.append(timed(work))
    again = statistics.median(timed(lambda: check(read_config(toml))) for _ in range(3))
    ratio = statistics.median(one / other for one, other in zip(loop, checked, strict=True))
    print(f"{len(files)} JPEGs of {SIDE} pixels, {rounds} rounds")
    print(f"Pillow verify() + load(), one process: {statistics.median(loop):.2f} s")
    print(
        f"musabi check: {statistics.median(checked):.2f} s, {ratio:.2f} times as fast; unchanged: {again:.2f} s"
    )
    few, all_of_them = (memory(toml, share) for share in (0.1, 1.0))
    print(f"most memory: {few:.0f} MB for a tenth of the images, {all_of_them:.0f} MB for all")


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def verify_and_load(files: Iterable[Path]) -> None:
    """Do what a plain script does: verify each picture, then open it again and decode it."""
    for file in files:
        with Image.open(file) as picture:
            picture.verify()
        with Image.open(file) as picture:
            picture.load()


def check_anew(toml: Path) -> None:
    """Check the dataset with nothing remembered of it."""
    (toml.parent / "cache" / NAME).unlink(missing_ok=True)
    report = check(read_config(toml))
    assert report.trainable, report.findings[:3]


def memory(toml: Path, share: float) -> float:
    """Return the most memory in MB that a process of its own took to check a share of the dataset."""
    images = sorted((toml.parent / "images").iterdir())
    with tempfile.TemporaryDirectory(dir=toml.parent) as folder:
        part = Path(folder)
        (part / "images").mkdir()
        for file in images[: round(len(images) * share) // 2 * 2]:
            (part / "images" / file.name).hardlink_to(file)
        command = [sys.executable, __file__, "--memory-of", str(write_toml(part))]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def grown(toml: Path) -> float:
    """Check the dataset and return the most memory that this process took, in MB.

    getrusage would count what the parent had before this program was loaded.
    """
    check_anew(toml)
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def draw(folder: Path, images: int) -> Path:
    """Draw the pictures that are not there yet, each with a caption; return the dataset TOML."""
    rng = np.random.default_rng(1024)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    if len(list((folder / "images").glob("*.jpg"))) != images:
        shutil.rmtree(folder / "images")
        (folder / "images").mkdir()
        drawn = [photo(rng) for _ in range(min(DRAWN, images))]
        for number in range(images):
            picture = varied(drawn[number % len(drawn)], rng)
            Image.fromarray(picture).save(folder / "images" / f"{number:05d}.jpg", quality=90)
            (folder / "images" / f"{number:05d}.txt").write_text(f"photo {number}")
    return write_toml(folder)


def write_toml(folder: Path) -> Path:
    """Write the dataset TOML of a folder with images."""
    (folder / "cache").mkdir(exist_ok=True)
    toml = folder / "dataset.toml"
    toml.write_text(
        '[general]\nresolution = 1024\ncaption_extension = ".txt"\nenable_bucket = true\n[[datasets]]\n'
        f'image_directory = "{folder.absolute() / "images"}"\ncache_directory = "{folder.absolute() / "cache"}"\n'
    )
    return toml


def photo(rng: np.random.Generator) -> np.ndarray:
    """Return a picture (SIDE x SIDE x 3, 0 to 255) with as much detail, coarse and fine, as a photograph."""
    picture = np.full((SIDE, SIDE, 3), 128, np.float32)
    for size, strength in GRAIN:
        noise = rng.normal(0, strength, (size, size, 3)).astype(np.float32)
        channels = [Image.fromarray(noise[..., channel]).resize((SIDE, SIDE)) for channel in range(3)]
        picture += np.stack([np.asarray(channel) for channel in channels], axis=-1)
    return np.clip(picture, 0, 255).astype(np.uint8)


def varied(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the picture rolled, and mirrored or not, so that no two are alike."""
    rolled = np.roll(picture, rng.integers(0, SIDE, 2), axis=(0, 1))
    return rolled[:, ::-1] if rng.random() < 0.5 else rolled


if __name__ == "__main__":
    main()
