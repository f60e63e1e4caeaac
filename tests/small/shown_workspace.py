"""A workspace for pictures of the run page: a drawn character, two trainings of it, one at work, a pod around them."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from musabi.engines.diffusers.drawings import draw_robot
from musabi.job.record import RunFolder, RunState
from musabi.workspace import Workspace
from small.standing import Standing

SIDE = 160
GROUNDS = ("blue", "yellow", "red", "green")
WORDS = ("waving", "from the side", "in the rain", "smiling", "close-up", "in profile")
LOG = (
    "running training",
    "  num train items: 24, batch size: 2, resolution buckets: 2",
    "  num epochs: 10, total optimization steps: 270",
    "epoch 1/10",
    "saving checkpoint: ohwx_v1-000010.safetensors",
    "model saved.",
)
PROMPTS = ("ohwx robot on a blue background, studio light", "ohwx robot on a yellow background, in the rain")
DAY = 86_400.0


def fill_shown(world: Any, pod: Path, training_rows: Callable[..., Any], now: float) -> Standing:
    """Fill a made workspace (see the tests of watch); `now` is Unix seconds. Return the pod, in `pod`."""
    _draw_dataset(world.images)
    _first_run(world, training_rows)
    _second_run(world, training_rows)
    standing = Standing(pod)
    standing.space = Workspace(world.root)
    standing.space.state.mkdir(parents=True, exist_ok=True)
    standing.report(
        ("GPU", "ok", "NVIDIA H100 80GB HBM3, driver 570.86, CUDA 12.8."),
        ("Disk", "ok", "412 GB are free on the volume; a training writes about 14 GB."),
        ("Wheel", "note", "flash-attn is not proven on this GPU yet: attention runs on SDPA."),
    )
    standing.services(jupyter=("running", ""), bootstrap=("running", ""), tensorboard=("running", ""))
    standing.bootstrap(
        "running",
        layout={"state": "done"},
        clone={"state": "done"},
        environment={"state": "done"},
        weights={"state": "running", "bytes": 14_300_000_000, "total": 20_600_000_000, "eta_s": 131.0},
    )
    going = standing.run(
        RunState.RUNNING, steps=270, done=96, name="ohwx_v3", created=now - 400, lineage_started=now - 400
    )
    _noisy(going)
    standing.announce("stop", "nothing was done here for 30 minutes", 900)
    return standing


def _noisy(run: RunFolder) -> None:
    """Give a made run the scatter of a real one, and what was asked of it."""
    rng = random.Random(3)  # noqa: S311 - a curve, no secrets
    events = [json.loads(line) for line in run.events_file.read_text().splitlines()]
    for number, event in enumerate(events):
        event["loss"] = round(0.43 + 0.16 * 0.97**number + rng.uniform(-0.09, 0.09), 4)
        event["epoch"] = number // 27 + 1
    run.events_file.write_text("".join(json.dumps(event) + "\n" for event in events))
    record = run.load()
    asked = {
        "engine": "musubi",
        "model": "z-image",
        "network_dim": 16,
        "network_alpha": 16.0,
        "optimizer": "prodigy",
    }
    run.save(record.model_copy(update={"job": record.job | asked}))


def _draw_dataset(images: Path) -> None:
    rng = random.Random(7)  # noqa: S311 - pictures, no secrets
    for number in range(24):
        picture, caption = draw_robot(rng, 2 * SIDE, GROUNDS[number % 4])
        picture = _seen_from_elsewhere(picture, rng, wide=number % 5 == 4)
        picture.save(images / f"robot_{number:02d}.png")
        if number != 11:  # one has no caption, and one is there twice
            (images / f"robot_{number:02d}.txt").write_text(f"{caption}, {WORDS[number % 6]}")
    (images / "robot_24.png").write_bytes((images / "robot_03.png").read_bytes())
    (images / "robot_24.txt").write_text("ohwx robot, the same picture again")


def _seen_from_elsewhere(picture: Any, rng: random.Random, *, wide: bool) -> Any:
    """Turn, cut and scale a picture so that no two look alike."""
    turned = picture.rotate(rng.uniform(-25, 25), fillcolor=picture.getpixel((1, 1)))
    side = rng.randrange(SIDE, 2 * SIDE)
    left, top = rng.randrange(2 * SIDE - side + 1), rng.randrange(2 * SIDE - side + 1)
    cut = turned.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
    return cut.crop((0, 24, SIDE, 136)) if wide else cut


def _first_run(world: Any, training_rows: Callable[..., Any]) -> None:
    (world.root / "dataset" / "sample_prompts.txt").write_text("".join(f"{one} --d 42\n" for one in PROMPTS))
    _log(world, world.logs / "20251009090000" / "network_train", training_rows, world.run.load().created)
    files = _samples(world, "ohwx_v1", 0)
    for epoch in range(2, world.epochs, 2):
        files.append(world.add_checkpoint(f"ohwx_v1-{epoch:06d}", epoch * 100, 40_000))
    files.append(world.add_checkpoint("ohwx_v1", 1700, 40_000))
    files.append(world.add_checkpoint("ohwx_v1", 1750, 40_100, kind="converted"))
    world.record(files=files)
    (world.run.path / "log.txt").write_text("\n".join(LOG) + "\n")
    losses = [
        (step, loss)
        for tag, step, loss in training_rows(world.epochs, world.per_epoch)
        if tag == "loss/current"
    ]
    events = [
        {"phase": "train", "step": step, "steps": len(losses), "loss": round(loss, 4)}
        for step, loss in losses
    ]
    begun = world.run.load().created + 60
    lines = [json.dumps(event | {"t": begun + 6 * event["step"]}) for event in events]
    world.run.events_file.write_text("\n".join(lines) + "\n")


def _samples(world: Any, stem: str, seed: int) -> list[Any]:
    """Draw each prompt as a LoRA learns it: noise that gives way to the character."""
    from PIL import Image, ImageChops

    files = []
    for prompt in range(2):
        target, _ = draw_robot(random.Random(seed + prompt), SIDE, GROUNDS[prompt])  # noqa: S311
        for epoch in range(0, world.epochs + 1, 2):
            noise = Image.effect_noise((SIDE, SIDE), 90).convert("RGB")
            tinted = ImageChops.overlay(noise, Image.new("RGB", (SIDE, SIDE), (150, 130, 170)))
            file = world.add_sample(
                f"{stem}_e{epoch:06d}_{prompt:02d}_20251009091500_42_000.png", epoch + prompt
            )
            Image.blend(tinted, target, min(1.0, 0.1 + epoch / 9)).save(file.path)
            files.append(file)
    return files


def _second_run(world: Any, training_rows: Callable[..., Any]) -> None:
    """An older training with another rank, whose loss lies over the first one's."""
    run = RunFolder(world.root / "runs" / "run-0")
    run.path.mkdir()
    record = world.run.load()
    logs = world.root / "logs-v0"
    job = record.job | {"output_name": "ohwx_v0", "network_dim": 8, "logging_dir": str(logs)}
    early = record.created - DAY
    steps = [
        step.model_copy(update={"started": (step.started or 0) - DAY, "ended": (step.ended or 0) - DAY})
        for step in record.steps
    ]
    changes = {"id": "run-0", "job": job, "created": early, "lineage_started": early, "ended": early + 1500}
    run.save(record.model_copy(update=changes | {"steps": steps, "files": []}))
    _log(world, logs / "20251008090000" / "network_train", training_rows, early, noise=0.2)


def _log(
    world: Any, folder: Path, training_rows: Callable[..., Any], begun: float, noise: float = 0.12
) -> None:
    """Write an event file whose steps took six seconds each."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for tag, step, value in training_rows(world.epochs, world.per_epoch, noise=noise):
        steps = step * world.per_epoch if tag == "loss/epoch" else step
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        writer.add_event(Event(wall_time=begun + 60 + 6 * steps, step=step, summary=summary))
    writer.close()
    (written,) = folder.iterdir()
    written.rename(folder / f"events.out.tfevents.{int(begun + 60)}.pod.1.0")
