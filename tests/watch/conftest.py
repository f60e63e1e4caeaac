"""Runs made by the tests: records, event files, pictures and datasets on disk."""

import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from musabi.job.record import ProducedFile, RunFolder, RunRecord, RunState, StepOutcome

CREATED = 1_760_000_000.0


def write_events(folder: Path, rows: Iterable[tuple[str, int, float]], opened: float = CREATED + 60) -> Path:
    """Write one real event file of (tag, step, value) rows; its name says that it was opened at `opened`."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for tag, step, value in rows:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        writer.add_event(Event(wall_time=opened + step, step=step, summary=summary))
    writer.close()
    (written,) = [path for path in folder.iterdir() if f".{int(time.time())}"[:8] in path.name]
    return written.rename(folder / f"events.out.tfevents.{int(opened)}.pod.{len(list(folder.iterdir()))}.0")


def training_rows(
    epochs: int, per_epoch: int, *, first: int = 1, noise: float = 0.12
) -> list[tuple[str, int, float]]:
    """Return what a Prodigy run logs: a loss that falls and levels out, with the scatter of real training."""
    rng = random.Random(first)  # noqa: S311 - a curve, no secret
    rows: list[tuple[str, int, float]] = []
    for epoch in range((first - 1) // per_epoch + 1, epochs + 1):
        losses = []
        for step in range((epoch - 1) * per_epoch + 1, epoch * per_epoch + 1):
            progress = step / (epochs * per_epoch)
            loss = 0.42 + 0.18 * math.exp(-6 * progress) + rng.uniform(-noise, noise)
            losses.append(loss)
            rate = 1e-6 + 3.1e-4 * (1 - math.exp(-14 * progress))
            rows += [("loss/current", step, loss), ("loss/average", step, sum(losses) / len(losses))]
            rows += [("lr/unet", step, 1.0), ("lr/d*lr/unet", step, rate)]
        rows.append(("loss/epoch", epoch, sum(losses) / len(losses)))
        progress = epoch / epochs
        rows.append(("loss/fixed", epoch * per_epoch, 0.44 + 0.16 * math.exp(-5 * progress)))
    return [("loss/fixed", 0, 0.6), *rows] if first == 1 else rows


def draw_picture(path: Path, size: tuple[int, int], seed: int) -> None:
    """Draw a picture that can be told from its neighbours."""
    rng = random.Random(seed)  # noqa: S311 - a picture, no secret
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = tuple(rng.randrange(60, 220) for _ in range(3))
    image = Image.new("RGB", size, shade)
    drawing = ImageDraw.Draw(image)
    width, height = size
    for _ in range(5):
        x, y, r = rng.randrange(width), rng.randrange(height), rng.randrange(width // 8, width // 3)
        colour = tuple(rng.randrange(256) for _ in range(3))
        drawing.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    image.save(path)


@dataclass
class World:
    """A workspace with one finished run, and what a test needs to bend it."""

    root: Path
    run: RunFolder
    epochs: int = 10
    per_epoch: int = 27

    @property
    def output(self) -> Path:
        return self.root / "output"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def images(self) -> Path:
        return self.root / "dataset" / "images"

    def record(self, **changes: Any) -> RunRecord:
        """Return the run's record, changed and saved."""
        record = self.run.load().model_copy(update=changes)
        self.run.save(record)
        return record

    def add_image(self, name: str, caption: str, seed: int = 0, size: tuple[int, int] = (160, 120)) -> None:
        draw_picture(self.images / name, size, seed)
        (self.images / name).with_suffix(".txt").write_text(caption, encoding="utf-8")

    def add_sample(self, name: str, seed: int = 0, size: tuple[int, int] = (96, 96)) -> ProducedFile:
        path = self.output / "sample" / name
        draw_picture(path, size, seed)
        return ProducedFile(kind="sample", path=path, size=path.stat().st_size, made=CREATED + 100 + seed)

    def add_checkpoint(
        self, stem: str, made: float, size: int = 3000, kind: str = "checkpoint"
    ) -> ProducedFile:
        path = self.output / ("comfyui" if kind == "converted" else "") / f"{stem}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0" * size)
        return ProducedFile(kind=kind, path=path, size=size, made=CREATED + made)


def make_world(root: Path) -> World:
    """Make a workspace with a record of a finished run, without images, samples, checkpoints or logs."""
    world = World(root, RunFolder(root / "runs" / "run-1"))
    for folder in (world.images, root / "dataset" / "cache", world.output, world.logs, world.run.path):
        folder.mkdir(parents=True)
    config = root / "dataset" / "dataset.toml"
    config.write_text(
        '[general]\nresolution = [1024, 1024]\ncaption_extension = ".txt"\n'
        "batch_size = 2\nenable_bucket = true\n"
        f'[[datasets]]\nimage_directory = "{world.images}"\ncache_directory = "{root}/dataset/cache"\n'
    )
    prompts = root / "dataset" / "sample_prompts.txt"
    prompts.write_text(
        "# what is drawn\nohwx woman, studio portrait, soft window light --w 1024 --h 1024 --d 42\n"
        "ohwx woman walking through a rainy city at night, neon reflections, 35mm --d 43\n"
    )
    argv = [
        "/opt/venv/bin/python", "zimage_train_network.py", "--dataset_config", str(config),
        "--logging_dir", str(world.logs), "--output_name", "ohwx_v1", "--optimizer_args", "d_coef=1.0",
    ]  # fmt: skip
    names = (("cache-latents", "Caching latents"), ("cache-text", "Caching captions"), ("train", "Training"))
    steps = [
        StepOutcome(
            name=name, title=title, argv=argv, state="done", started=CREATED + 30 * index,
            ended=CREATED + 30 * index + (1700 if name == "train" else 25), exit_code=0,
        )
        for index, (name, title) in enumerate(names)
    ]  # fmt: skip
    record = RunRecord(
        id="run-1",
        state=RunState.DONE,
        created=CREATED,
        lineage_started=CREATED,
        ended=CREATED + 1790,
        exit_code=0,
        job={
            "engine": "musubi", "model": "z-image", "output_name": "ohwx_v1", "output_dir": str(world.output),
            "logging_dir": str(world.logs), "dataset_config": str(config), "sample_prompts": str(prompts),
            "network_dim": 32, "network_alpha": 16.0, "optimizer": "prodigy", "learning_rate": 1e-4,
            "seed": 42,
        },
        plan={
            "schedule": {"steps": 270, "epochs": 10, "steps_per_epoch": 27},
            "steps": [
                {"name": name, "title": title, "argv": argv, "env": {"PYTHONUNBUFFERED": "1"}}
                for name, title in names
            ],
            "choices": [{"setting": "epochs", "value": "10", "why": "270 steps / 27 batches an epoch"}],
            "warnings": [],
        },
        versions={"musabi": "0.1.0", "musubi-tuner": "0123456789abcdef" * 2, "torch": "2.9.1+cu128"},
        steps=steps,
    )  # fmt: skip
    world.run.save(record)
    return world


@pytest.fixture(name="write_events")
def write_events_fixture() -> Callable[..., Path]:
    """Writes an event file: `write_events(folder, rows, opened=...)`."""
    return write_events


@pytest.fixture(name="training_rows")
def training_rows_fixture() -> Callable[..., list[tuple[str, int, float]]]:
    """What a run logs: `training_rows(epochs, per_epoch, first=...)`."""
    return training_rows


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A workspace with the record of a finished run and nothing else."""
    return make_world(tmp_path)


@pytest.fixture
def full_world(tmp_path: Path) -> World:
    """A workspace with everything that a report can show."""
    return fill_world(make_world(tmp_path))


def fill_world(world: World, images: int = 9, sample_px: int = 160) -> World:
    """Add images, event files, samples and checkpoints to a workspace's run."""
    for number in range(images):
        size = ((160, 120), (120, 160), (140, 140))[number % 3]
        world.add_image(
            f"photo_{number:03d}.png", f"ohwx woman, picture {number}, smiling, outdoors", number, size
        )
    write_events(
        world.logs / "20251009090000" / "network_train", training_rows(world.epochs, world.per_epoch)
    )
    files = []
    for epoch in range(0, world.epochs + 1, 2):
        for prompt in range(2):
            name = f"ohwx_v1_e{epoch:06d}_{prompt:02d}_20251009091500_42_000.png"
            files.append(world.add_sample(name, epoch * 10 + prompt, (sample_px, sample_px)))
        if 0 < epoch < world.epochs:
            files.append(world.add_checkpoint(f"ohwx_v1-{epoch:06d}", epoch * 100))
    files.append(world.add_checkpoint("ohwx_v1", 1700))
    files.append(world.add_checkpoint("ohwx_v1", 1750, kind="converted"))
    world.record(files=files)
    return world
